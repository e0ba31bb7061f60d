//! Rules about the audit log.

use palisade::audit;
use serde_json::Value;

use super::host::{Ask, Outcome, Stop, failed};
use super::stage::{ATTACK, Stage};

pub fn audit_survives(stage: &Stage) -> Outcome {
    let policy = stage.policy("audit.toml", "")?;
    let log = stage.path("killed.log");
    let question = stage.question("plain")?;
    let mut before = 0;
    for round in 1..=2 {
        let mut host = stage.host()?;
        host.must("open", &stage.opening(&[("policy", &policy), ("audit", &log)]))?;
        host.must("accept", &[])?;
        stage.ask(&mut host, &Ask::new(ATTACK))?.must_end("blocked_input")?;
        host.must("session", &[])?;
        host.kill_at_text(&Ask::new(&question))?;
        let records = verified(&log, round)?;
        if records.len() <= before {
            return failed(format!("round {round}: {} records in the audit log", records.len()));
        }
        before = records.len();
        if !records.iter().any(|r| r["end"] == "blocked_input") {
            return failed("the blocked question is not in the audit log");
        }
        let text = std::fs::read_to_string(&log).unwrap_or_default().to_lowercase();
        if text.contains("previous instructions") || text.contains("ships of the old harbour") {
            return failed("the audit log holds words of a question or an answer");
        }
    }
    Ok(())
}

fn verified(log: &std::path::Path, round: usize) -> Outcome<Vec<Value>> {
    let mut records = Vec::new();
    let read = audit::read_all(log, &mut |record| {
        records.push(record.clone());
        Ok(())
    });
    match read {
        Ok(_) => Ok(records),
        Err(e) => Err(Stop::Failed(format!("killed in round {round}, the audit log does not verify: {e}"))),
    }
}

pub fn appeal(stage: &Stage) -> Outcome {
    let policy = stage.policy("appeal.toml", "")?;
    let log = stage.path("appeal.log");
    let mut host = stage.host()?;
    host.must("open", &stage.opening(&[("policy", &policy), ("audit", &log)]))?;
    host.must("accept", &[])?;
    host.must("session", &[])?;
    host.must_not("appeal", &[], "nothing had been refused")?;
    host.ask(&Ask::new(ATTACK))?.must_end("blocked_input")?;
    host.must("appeal", &[])?;
    host.must_not("appeal", &[], "the one refusal had its appeal")?;
    host.quit()?;
    let appeals = verified(&log, 1)?.iter().filter(|r| r["event"] == "appeal").count();
    if appeals != 1 {
        return failed(format!("{appeals} appeals in the audit log, expected one"));
    }
    Ok(())
}

//! What a policy does to a guard: signed ones only, one that watches, categories of the house, languages, stages.

use std::path::Path;
use std::sync::Arc;

use palisade::guard::{Action, Category, Guard, GuardOptions, InputContext, Judgement, PolicyBundle};
use palisade::signature::SecretKey;
use palisade::{CancelFlag, Result};

const HEAD: &str = "version = 1\nname = \"t\"\nrefusal.text = \"No.\"\n\
    [default]\ninput = { action = \"block\" }\noutput = { action = \"block\" }\n";

fn file(dir: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn open(text: &str) -> Result<Guard> {
    Guard::open(&GuardOptions { policy_text: Some(text.to_owned()), ..GuardOptions::default() })
}

fn input(guard: &Guard, text: &str) -> Judgement {
    guard.judge_input(&InputContext { text, ..InputContext::default() }, &CancelFlag::new())
}

#[test]
fn with_a_key_only_signed_policies_open_a_guard() {
    let dir = tempfile::tempdir().unwrap();
    let seed = SecretKey::from_bytes([9; 32]);
    let plain = file(dir.path(), "plain.toml", HEAD);
    let signed = |n| file(dir.path(), &format!("{n}.bundle"), &PolicyBundle::sign(HEAD, n, &seed).unwrap());
    let (old, new) = (signed(1), signed(2));
    let with = |policy: Option<&Path>| {
        Guard::open(&GuardOptions {
            policy: policy.map(Path::to_owned),
            policy_key: Some(seed.public().to_hex()),
            state_dir: Some(dir.path().join("state")),
            ..GuardOptions::default()
        })
    };
    assert!(with(None).unwrap_err().message().contains("signed bundle"));
    assert!(with(Some(&plain)).unwrap_err().message().contains("not signed"));
    assert_eq!(with(Some(&new)).unwrap().policy().name(), "t");
    assert!(with(Some(&old)).unwrap_err().message().contains("older"));
    // One that does not come into force shuts nothing out.
    let demanding = format!("{HEAD}[stages]\nrequire_prompt_guard = true\n");
    let demanding = file(dir.path(), "3.bundle", &PolicyBundle::sign(&demanding, 3, &seed).unwrap());
    assert!(with(Some(&demanding)).unwrap_err().message().contains("require_prompt_guard"));
    with(Some(&new)).unwrap();
}

#[test]
fn a_shadow_is_heard_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let shadow = format!(
        "{HEAD}[[custom]]\nid = \"tea\"\nname = \"Tea\"\nlist = [\"green tea\"]\nmatches = [\"Green tea\"]\npasses = [\"green\"]\n"
    );
    let options = GuardOptions { shadow: Some(file(dir.path(), "shadow.toml", &shadow)), ..GuardOptions::default() };
    let guard = Guard::open(&options).unwrap();
    let text = "Do you sell green tea in your shop? Write to ann@example.org.";
    let judged = input(&guard, text);
    assert_eq!(judged.action, Action::Flag, "the policy in force flags personal data: {:?}", judged.verdicts);
    let said: Vec<_> = judged.shadow.iter().map(|v| (v.category_id().unwrap(), v.action)).collect();
    assert!(said.contains(&("tea", Action::Block)) && said.contains(&("pii", Action::Block)), "{said:?}");
    assert!(judged.shadow.iter().all(|v| v.policy != guard.policy().hash()));
    assert!(Arc::new(guard).judge_output_text("It is open.", &CancelFlag::new()).shadow.is_empty());
}

#[test]
fn a_category_of_the_house_blocks_by_its_name() {
    let guard = open(&format!(
        "{HEAD}[[custom]]\nid = \"rivals\"\nname = \"Rivals\"\ninput = {{ action = \"flag\" }}\nregex = ['city (?:gallery|museum)']\n\
         matches = [\"the city museum\"]\npasses = [\"a museum in our city\"]\n"
    ))
    .unwrap();
    let judged = input(&guard, "Is the City Museum larger?");
    let v = &judged.verdicts[0];
    assert_eq!((judged.action, v.category, v.category_id()), (Action::Flag, Some(Category::Custom(0)), Some("rivals")));
    assert_eq!((v.rule.as_deref(), v.span.clone()), (Some("rivals"), Some(7..18)));
    let out = guard.judge_output_text("Try the C\u{200b}ity Gallery.", &CancelFlag::new());
    assert_eq!(out.blocked_by().and_then(|v| v.category_id()), Some("rivals"), "disguised, on the side of the default");
}

#[test]
fn what_only_an_llm_guard_can_see_needs_one() {
    let criteria = format!(
        "{HEAD}[[custom]]\nid = \"prices\"\nname = \"Prices\"\ncriteria = \"Promises a discount.\"\nmatches = [\"half price for you\"]\n\
         passes = [\"tickets cost ten\"]\n"
    );
    assert!(open(&criteria).unwrap_err().message().contains("prices"));
    let required = format!("{HEAD}[stages]\nrequire_llm_guard = true\n");
    assert!(open(&required).unwrap_err().message().contains("require_llm_guard"));
    let required = format!("{HEAD}[stages]\nrequire_prompt_guard = true\n");
    assert!(open(&required).unwrap_err().message().contains("require_prompt_guard"));
}

#[test]
fn languages_outside_the_list_do_what_the_policy_says() {
    let spanish = "¿Dónde está la estación de tren más cercana y a qué hora sale el último tren de hoy?";
    for (outside, action) in [("flag", Action::Flag), ("block", Action::Block), ("allow", Action::Allow)] {
        let guard = open(&format!("{HEAD}[languages]\ncertified = [\"en\"]\noutside = \"{outside}\"\n")).unwrap();
        let judged = input(&guard, spanish);
        let said = judged.verdicts.iter().find(|v| v.category == Some(Category::Language)).map(|v| v.action);
        assert_eq!(said.unwrap_or_default(), action, "{:?}", judged.verdicts);
    }
    let guard = open(&format!("{HEAD}[languages]\ncertified = [\"en\", \"es\"]\n")).unwrap();
    assert!(input(&guard, spanish).verdicts.iter().all(|v| v.category != Some(Category::Language)));
}

//! Reads the header and writes a C program that calls every function with each of its pointers NULL, and with handles
//! that are stale or of another kind.

/// A function of the header.
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) result: String,
    /// Type and name of each parameter.
    params: Vec<(String, String)>,
    /// The comment before it.
    pub(crate) doc: String,
}

/// The functions that the header declares.
pub(crate) fn functions(header: &str) -> Vec<Function> {
    let mut found = Vec::new();
    let (mut doc, mut text) = (String::new(), String::new());
    for line in header.lines() {
        if line.starts_with("//") {
            doc.push_str(line);
            doc.push('\n');
            continue;
        }
        if line.starts_with("/*") || line.starts_with(" *") {
            continue;
        }
        text.push_str(line);
        text.push(' ');
        if line.ends_with(';') || line.ends_with('{') || line.ends_with('}') || line.is_empty() || line.starts_with('#')
        {
            found.extend(function(&text, &doc));
            doc.clear();
            text.clear();
        }
    }
    found
}

fn function(text: &str, doc: &str) -> Option<Function> {
    let (head, rest) = text.strip_suffix("; ")?.split_once('(')?;
    let head = head.trim().trim_start_matches("PALISADE_CHECK_RESULT").trim();
    let name = head.rsplit([' ', '*']).next().filter(|name| name.starts_with("palisade_"))?;
    let result = head[..head.len() - name.len()].trim().to_owned();
    let params = rest.trim_end_matches(')').split(',').map(str::trim).filter(|&p| p != "void");
    let params = params.map(|param| {
        let at = param.rfind([' ', '*']).unwrap() + 1;
        (param[..at].trim().to_owned(), param[at..].to_owned())
    });
    Some(Function { name: name.to_owned(), result, params: params.collect(), doc: doc.to_owned() })
}

/// The structs that the header defines, with their fields.
pub(crate) fn structs(header: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for body in header.split("typedef struct {").skip(1) {
        let (fields, rest) = body.split_once('}').unwrap();
        let name = rest.split(';').next().unwrap().trim().to_owned();
        let fields = fields.lines().map(str::trim).filter(|line| line.ends_with(';'));
        let fields = fields.map(|line| {
            let field = line.trim_end_matches(';').rsplit([' ', '*']).next().unwrap();
            field.split('[').next().unwrap().to_owned()
        });
        found.push((name, fields.collect()));
    }
    found
}

/// What a call is given where nothing is wrong with it.
fn good(kind: &str, next: Option<&(String, String)>, before: &str) -> String {
    match kind {
        "palisade_engine_t *" | "const palisade_engine_t *" => "engine".into(),
        "palisade_session_t *" | "const palisade_session_t *" => "session".into(),
        "palisade_request_t *" | "const palisade_request_t *" => "running".into(),
        "palisade_engine_t **" | "palisade_session_t **" | "palisade_request_t **" | "const palisade_event_t **" => {
            "(void *)&out".into()
        }
        "char *" => "room.chars".into(),
        "size_t *" => "&number".into(),
        "size_t" => match before.trim_start_matches("const ").strip_suffix(" *") {
            Some(of) if of.starts_with("palisade_") => format!("sizeof({of})"),
            _ => "sizeof room".into(),
        },
        "palisade_str_t" => "palisade_str(\"text\")".into(),
        "palisade_event_fn" => "on_event".into(),
        "palisade_log_fn" | "void *" => "NULL".into(),
        "int32_t" | "int64_t" | "palisade_status_t" => "1".into(),
        // An output struct is followed by its size; an input struct is one that was filled.
        _ if next.is_some_and(|(kind, _)| kind == "size_t") => "(void *)&room".into(),
        _ => format!("&{}", kind.trim_start_matches("const palisade_").trim_end_matches("_t *")),
    }
}

fn is_handle(kind: &str) -> bool {
    ["engine", "session", "request"].iter().any(|of| kind.trim_start_matches("const ") == format!("palisade_{of}_t *"))
}

/// The program, and how many calls it makes.
pub(crate) fn program(header: &str) -> (String, usize) {
    let mut calls = Vec::new();
    for function in functions(header).iter().filter(|f| f.result == "palisade_status_t") {
        let args: Vec<String> = (0..function.params.len())
            .map(|i| {
                let before = if i > 0 { &function.params[i - 1].0 } else { "" };
                good(&function.params[i].0, function.params.get(i + 1), before)
            })
            .collect();
        let mut call = |at: usize, value: &str, code: &str| {
            let mut args = args.clone();
            args[at] = value.to_owned();
            calls.push(format!("    CALL({code}, {}({}));\n", function.name, args.join(", ")));
        };
        for (at, (kind, name)) in function.params.iter().enumerate() {
            let pointer = kind.ends_with('*') || kind == "palisade_event_fn";
            let may_be_null = kind == "void *" || function.name.ends_with("_free");
            if pointer && !may_be_null {
                call(at, "NULL", "PALISADE_ARG");
            }
            if is_handle(kind) && !name.is_empty() {
                call(at, &format!("stale_{name}"), "PALISADE_CLOSED");
                call(at, &format!("(void *){}", if name == "engine" { "session" } else { "engine" }), "PALISADE_ARG");
                call(at, "(void *)&room", "PALISADE_ARG");
            }
        }
    }
    let count = calls.len();
    (FRAME.replace("@CALLS@", &calls.concat()), count)
}

const FRAME: &str = r#"#include <palisade.h>
#include <stdio.h>
#include <string.h>

static union {
    double align;
    char chars[4096];
} room;
static unsigned long long out = 0xA5A5A5A5A5A5A5A5ull;
static size_t number;
static int events;

static int32_t on_event(const palisade_event_t *event, void *user) {
    (void)event, (void)user;
    events++;
    return 0;
}

static int untouched(void) {
    size_t i;
    for (i = 0; i < sizeof room; i++)
        if (room.chars[i] != (char)0xA5) return 0;
    return out == 0xA5A5A5A5A5A5A5A5ull && number == 77 && events == 0;
}

#define MUST(call)                                                                                                     \
    if ((call) != PALISADE_OK) {                                                                                       \
        fprintf(stderr, "%s\n", #call);                                                                                \
        return 1;                                                                                                      \
    }

#define CALL(code, call)                                                                                               \
    do {                                                                                                               \
        const palisade_status_t got = (call);                                                                          \
        if (got != (code) || !untouched()) {                                                                           \
            fprintf(stderr, "%s gave %s, not %s\n", #call, palisade_status_name(got), #code);                          \
            return 1;                                                                                                  \
        }                                                                                                              \
    } while (0)

int main(int argc, char **argv) {
    palisade_engine_options_t engine_options;
    palisade_session_options_t session_options;
    palisade_request_options_t request_options;
    palisade_acceptance_t acceptance;
    palisade_license_t license;
    palisade_engine_t *engine, *stale_engine, *freed_engine;
    palisade_session_t *session, *stale_session, *freed_session;
    palisade_request_t *running, *stale_request, *freed_request;
    if (argc != 2) return 2;
    MUST(palisade_engine_options_init(&engine_options, sizeof engine_options));
    MUST(palisade_session_options_init(&session_options, sizeof session_options));
    MUST(palisade_request_options_init(&request_options, sizeof request_options));
    MUST(palisade_acceptance_init(&acceptance, sizeof acceptance));
    engine_options.model = palisade_str(argv[1]);
    request_options.text = palisade_str("When are you open?");
    MUST(palisade_engine_open(&engine_options, &engine));
    MUST(palisade_license_status(engine, &license, sizeof license));
    acceptance.text_sha256 = palisade_str(license.text_sha256);
    acceptance.party = palisade_str("The contract test");
    MUST(palisade_license_accept(engine, &acceptance));
    MUST(palisade_engine_open(&engine_options, &freed_engine));
    MUST(palisade_session_open(engine, &session_options, &session));
    MUST(palisade_session_open(engine, &session_options, &freed_session));
    MUST(palisade_session_start(session, &request_options, &freed_request));
    stale_engine = freed_engine, stale_session = freed_session, stale_request = freed_request;
    MUST(palisade_request_free(&freed_request));
    MUST(palisade_session_free(&freed_session));
    MUST(palisade_engine_free(&freed_engine));
    MUST(palisade_session_start(session, &request_options, &running));
    memset(&room, 0xA5, sizeof room);
    number = 77;
@CALLS@
    MUST(palisade_request_free(&running));
    MUST(palisade_session_free(&session));
    MUST(palisade_engine_free(&engine));
    return 0;
}
"#;

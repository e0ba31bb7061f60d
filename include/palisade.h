/*
 * Palisade: guarded on-device Llama 4 behind one C ABI.
 *
 * Made by cbindgen from src/ffi. Do not edit: change the Rust side and run `BLESS=1 cargo test --test header`.
 *
 * A whole program, from loading a model to a streamed answer. Each function is documented where it is declared.
 *
 *     #include <palisade.h>
 *     #include <stdio.h>
 *
 *     static int32_t on_event(const palisade_event_t *event, void *user) {
 *         if (event->kind == PALISADE_EVENT_TEXT || event->kind == PALISADE_EVENT_END)
 *             fwrite(event->text.data, 1, event->text.len, (FILE *)user);
 *         return 0; // 1 cancels
 *     }
 *
 *     static int failed(void) {
 *         char message[1024];
 *         size_t needed;
 *         if (palisade_last_error(message, sizeof message, &needed) == PALISADE_OK) fprintf(stderr, "%s\n", message);
 *         return 1;
 *     }
 *
 *     int main(int argc, char **argv) {
 *         palisade_engine_t *engine = NULL;
 *         palisade_session_t *session = NULL;
 *         palisade_engine_options_t options;
 *         palisade_session_options_t dialog;
 *         palisade_request_options_t request;
 *
 *         if (argc < 3) return 2; // hello MODEL QUESTION
 *         if (palisade_engine_options_init(&options, sizeof options) != PALISADE_OK) return failed();
 *         options.model = palisade_str(argv[1]);
 *         options.state_dir = palisade_str("."); // where the licence receipt lies
 *         if (palisade_engine_open(&options, &engine) != PALISADE_OK) return failed();
 *
 *         // The first answer asks for a licence receipt: examples/c/hello.c shows how it is made.
 *         if (palisade_session_options_init(&dialog, sizeof dialog) != PALISADE_OK) return failed();
 *         if (palisade_session_open(engine, &dialog, &session) != PALISADE_OK) return failed();
 *
 *         if (palisade_request_options_init(&request, sizeof request) != PALISADE_OK) return failed();
 *         request.text = palisade_str(argv[2]);
 *         if (palisade_session_ask(session, &request, on_event, stdout) != PALISADE_OK) return failed();
 *
 *         palisade_session_free(&session);
 *         palisade_engine_free(&engine);
 *         return 0;
 *     }
 *
 * The rules, which hold for every function:
 *
 *  - Results. A function returns PALISADE_OK or a code that says why it did nothing; palisade_last_error gives this
 *    thread's message in words. Outputs are written on success only (but see `needed`). A blocked question or answer is
 *    an outcome, not an error; a guard that cannot judge is an error, never an outcome, and nothing is released.
 *  - Handles are tickets, looked up and never followed. One that was freed gives PALISADE_CLOSED, whichever copy is
 *    used; one that is none gives PALISADE_ARG. Freeing takes the handle's address and leaves NULL; freeing NULL is a
 *    no-op.
 *  - Structs that go in begin with `struct_size` and are filled by their init function, which takes the size. A program
 *    built with an older header works with a newer library, and the other way round as long as what is new is not used.
 *    Reserved fields stay zero. Structs that come out take their size as an argument.
 *  - Texts are UTF-8 with a length in bytes (palisade_str_t); palisade_str makes one from a NUL-terminated text. Texts
 *    that come out in a buffer end with a NUL, and `needed` is their size with it. Texts in events do not.
 *  - Threads. [any thread]: from any thread, at the same time. [one thread at a time]: a second call on the same handle
 *    answers PALISADE_BUSY at once. [callback-safe]: also from inside a callback of the same session; the others
 *    answer PALISADE_REENTRANT or PALISADE_BUSY there.
 *  - Callbacks run on the thread of the call they belong to, in order, with no lock held; they return 0 to go on and 1
 *    to cancel. They must not throw, unwind or longjmp through the library. `user` is passed through untouched.
 *  - Enumerations are int32_t, truth values uint8_t with 0 and 1. A number that has no meaning gives PALISADE_ARG.
 *  - After a fork a child may not use its parent's handles: PALISADE_FORKED. It may open its own.
 *  - The library writes to no file but those it is given the paths of, opens no socket, reads no environment and no
 *    clock, installs no signal handler, and is not unloadable once used.
 */
#ifndef PALISADE_H
#define PALISADE_H



#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__) || defined(__clang__)
#define PALISADE_CHECK_RESULT __attribute__((warn_unused_result))
#else
#define PALISADE_CHECK_RESULT
#endif

// The version of this header. The library's own is `palisade_version()`.
#define PALISADE_VERSION_MAJOR 0

// See `PALISADE_VERSION_MAJOR`.
#define PALISADE_VERSION_MINOR 1

// See `PALISADE_VERSION_MAJOR`.
#define PALISADE_VERSION_PATCH 0

// The ABI level of this header: part of the shared library's name, and `palisade_abi_version()`.
#define PALISADE_ABI_VERSION 1

// Bytes of a field that holds a name, with its NUL.
#define PALISADE_NAME_SIZE 128

// Bytes of a field that holds a SHA-256 in hexadecimal digits, with its NUL, rounded up to 8.
#define PALISADE_SHA256_SIZE 72

// Something does not work.
#define PALISADE_LOG_ERROR 1

// Something works, but not as the host may expect.
#define PALISADE_LOG_WARN 2

// What was opened and chosen.
#define PALISADE_LOG_INFO 3

// The audit log is flushed to the disk after every request.
#define PALISADE_SYNC_REQUEST 0

// After every record.
#define PALISADE_SYNC_RECORD 1

// When the system likes: a killed process loses nothing, a power failure may.
#define PALISADE_SYNC_NEVER 2

// Keys and values as suits the model: single precision where its attention weights are, half precision otherwise.
#define PALISADE_KV_AUTO 0

// Keys and values in single precision.
#define PALISADE_KV_F32 1

// Keys and values in half precision.
#define PALISADE_KV_F16 2

// Keys and values in eight bits with a scale for each 32 values: 17/32 of half precision's bytes. For models whose heads
// are a multiple of 32 values; others answer `PALISADE_UNSUPPORTED`.
#define PALISADE_KV_Q8_0 3

// The request began: `total` is the number of tokens of its prompt.
#define PALISADE_EVENT_STARTED 1

// The prompt is being read: `done` of `total` tokens.
#define PALISADE_EVENT_PROGRESS 2

// A piece of the answer, judged and released: `text`.
#define PALISADE_EVENT_TEXT 3

// A guard saw something: `verdict`.
#define PALISADE_EVENT_VERDICT 4

// The request is over: `end`. Always the last event, exactly once.
#define PALISADE_EVENT_END 5

// The model ended its answer.
#define PALISADE_END_STOP 1

// `max_tokens` were generated.
#define PALISADE_END_MAX_TOKENS 2

// One of the stop strings came.
#define PALISADE_END_STOP_STRING 3

// The dialog fills the context.
#define PALISADE_END_CONTEXT_FULL 4

// The guards blocked the question; no token was computed. The event's `text` is the refusal to show.
#define PALISADE_END_BLOCKED_INPUT 5

// The guards blocked the answer where it stands. The event's `text` is the refusal to show.
#define PALISADE_END_BLOCKED_OUTPUT 6

// The host cancelled.
#define PALISADE_END_CANCELLED 7

// It failed: `status` and `message` say why. When it is a guard that failed, the event's `text` is the refusal to show.
#define PALISADE_END_ERROR 8

// The session was refused too often and has to wait; nothing was judged or computed.
#define PALISADE_END_PAUSED 9

// The text passes.
#define PALISADE_ACTION_ALLOW 0

// The text passes and is reported.
#define PALISADE_ACTION_FLAG 1

// The text passes with a part of it replaced.
#define PALISADE_ACTION_MASK 2

// The text does not pass.
#define PALISADE_ACTION_BLOCK 3

// From a person to the model.
#define PALISADE_SIDE_INPUT 1

// From the model to a person.
#define PALISADE_SIDE_OUTPUT 2

// No category: the guard itself could not judge.
#define PALISADE_CATEGORY_NONE 0

// The categories 1 to 14 are S1 to S14 of Llama Guard 4.
#define PALISADE_CATEGORY_S1 1

// See `PALISADE_CATEGORY_S1`.
#define PALISADE_CATEGORY_S14 14

// Text that tries to give the model orders in the place of the host.
#define PALISADE_CATEGORY_PROMPT_INJECTION 101

// Text that tries to talk the model out of its safeguards.
#define PALISADE_CATEGORY_JAILBREAK 102

// Personal data.
#define PALISADE_CATEGORY_PII 103

// The text of a control token.
#define PALISADE_CATEGORY_SPECIAL_TOKEN 104

// A language that the policy's guards are not certified for.
#define PALISADE_CATEGORY_LANGUAGE 105

// A category of the house; `category_id` has its id.
#define PALISADE_CATEGORY_CUSTOM 200

// A model with its guards, shared by any number of sessions. Made by `palisade_engine_open`, given up by
// `palisade_engine_free`; its sessions keep what they need of it alive.
typedef struct palisade_engine_t palisade_engine_t;

// One request in the pull form. Made by `palisade_session_start`, given up by `palisade_request_free`.
typedef struct palisade_request_t palisade_request_t;

// One dialog with an engine. Made by `palisade_session_open`, given up by `palisade_session_free`.
typedef struct palisade_session_t palisade_session_t;

// What every function returns: `PALISADE_OK` or the reason why nothing was done. The hundreds say who can act:
// 1xx the calling code, 2xx whoever supplies the model and its licence, 3xx whoever sizes the device,
// 4xx whoever owns the guards, 5xx nobody (the work was stopped), 9xx the makers of this library.
typedef int32_t palisade_status_t;

// A view of UTF-8 text: pointer and length in bytes, no NUL needed. With `len` 0 the pointer is ignored.
// As an argument it is read during the call only. In an event it is borrowed: valid until the callback returns, or
// in the pull form until the next call on the request.
typedef struct {
    // The first byte. Where the library gives a text, a NUL does not follow it.
    const char *data;
    // How many bytes.
    size_t len;
} palisade_str_t;

// Receives one message of the library: a whole line, valid during the call. Never text of a prompt or an answer.
// It is called on the thread that made the call the message is about, with no lock held: it may call the library.
typedef void (*palisade_log_fn)(int32_t level, palisade_str_t message, void *user);

// How far opening an engine has come.
typedef struct {
    // The size of this struct in the library's version.
    uint32_t struct_size;
    // Zero.
    uint32_t reserved;
    // Bytes of the model that are read.
    uint64_t done;
    // Bytes of the model to read.
    uint64_t total;
} palisade_progress_t;

// Receives how far opening has come. Returns 0 to go on, 1 to cancel.
// Called on the thread that called `palisade_engine_open`.
typedef int32_t (*palisade_progress_fn)(const palisade_progress_t *progress, void *user);

// Signs a checkpoint of the audit log: `digest` points to 32 bytes, `signature` has room for `capacity` bytes, and
// `*written` takes how many were written; 0 leaves the checkpoint unsigned. Returns 0, or 1 when it failed; then the
// request in which it failed ends with `PALISADE_CALLBACK`.
//
// It is called on whichever thread appends to the log, until the engine is freed, never at the same time twice. It must
// not call into the library and not unwind.
typedef int32_t (*palisade_checkpoint_fn)(const uint8_t *digest,
                                          uint8_t *signature,
                                          size_t capacity,
                                          size_t *written,
                                          void *user);

// What `palisade_engine_open` needs. Fill it with `palisade_engine_options_init` first. Texts are read during the call
// only.
typedef struct {
    // Set by the init function.
    uint32_t struct_size;
    // Threads to compute with; 0 = one for each core.
    uint32_t threads;
    // Path of the model, a GGUF file (the first of a split one). Needed.
    palisade_str_t model;
    // Path of the guard policy, a TOML file; empty = the built-in one.
    palisade_str_t policy;
    // Path of the folder of an ONNX classifier; empty = the built-in one.
    palisade_str_t classifier;
    // Folder for licence receipts; empty = they are kept in memory, for this engine only.
    palisade_str_t state_dir;
    // Path of the audit log; empty = none is written.
    palisade_str_t audit;
    // Most bytes the engine may hold for weights and caches; 0 = no limit.
    uint64_t memory_budget;
    // Most tokens of one dialog; 0 = the default.
    uint32_t context;
    // Tokens of a prompt that are computed at once; 0 = the default.
    uint32_t prefill_batch;
    // 1 = map the model file instead of reading it. A file that somebody shortens meanwhile then ends the process
    // with SIGBUS: only for files that nobody else can write.
    uint8_t map_weights;
    // How keys and values of the past are kept, one of `PALISADE_KV_…`; 0 = what suits the model.
    uint8_t kv_type;
    // Zero.
    uint8_t reserved[6];
    // The host's time in seconds since 1970, for the audit log. The library reads no clock.
    int64_t time_unix;
    // Called while the engine is opened; may be NULL.
    palisade_progress_fn on_progress;
    // Given to `on_progress` untouched.
    void *user;
    // Public key that has to have signed the policy, 64 hexadecimal digits: then only signed bundles are taken for
    // `policy` and `shadow_policy`, and none older than the newest one that `state_dir` remembers. Empty = any policy.
    palisade_str_t policy_key;
    // Path of a policy that is tried beside the one in force: its verdicts are logged and change nothing; empty = none.
    palisade_str_t shadow_policy;
    // Secret for keyed hashes of questions in the audit log, 64 hexadecimal digits; empty = questions leave no trace.
    palisade_str_t audit_key;
    // An audit log of so many bytes is set aside (as `audit.log.000001` and so on) and continued in a new file; 0 = never.
    uint64_t audit_rotate_bytes;
    // After so many records a checkpoint is written; 0 = only where a file ends.
    uint64_t audit_checkpoint_every;
    // When the audit log is flushed to the disk, one of `PALISADE_SYNC_…`.
    uint8_t audit_sync;
    // 1 = keep the words of questions in the audit log.
    uint8_t audit_plain_text;
    // Zero.
    uint8_t reserved_2[6];
    // Signs checkpoints of the audit log; may be NULL.
    palisade_checkpoint_fn on_checkpoint;
    // Given to `on_checkpoint` untouched. Unlike `user` it is used until the engine is freed, from any thread.
    void *checkpoint_user;
    // Path of a guard model, a GGUF file of Llama Guard 3 or 4: it judges beside the classifier, as the policy's `[stages]`
    // say. Its licence is accepted as the model's is. Empty = none.
    palisade_str_t guard_model;
    // The guard model's family where its file does not say, `llama-guard-3-8b`, `llama-guard-3-1b` or `llama-guard-4`.
    // Empty = what the file says.
    palisade_str_t guard_family;
} palisade_engine_options_t;

// What an engine is.
typedef struct {
    // The size that the caller gave.
    uint32_t struct_size;
    // Threads it computes with.
    uint32_t threads;
    // Entries of the vocabulary.
    uint64_t vocabulary;
    // Most tokens of one dialog.
    uint64_t context;
    // Bytes of weights that stay in memory.
    uint64_t weight_bytes;
    // Bytes of the past of one full dialog.
    uint64_t kv_bytes;
    // The model's name.
    char model[PALISADE_NAME_SIZE];
    // Its architecture, such as `llama4`.
    char architecture[PALISADE_NAME_SIZE];
    // The kernel set in use, such as `avx2`.
    char kernels[PALISADE_NAME_SIZE];
    // The name of the guard policy.
    char policy[PALISADE_NAME_SIZE];
    // SHA-256 of the guard policy, in hexadecimal digits.
    char policy_sha256[PALISADE_SHA256_SIZE];
} palisade_engine_info_t;

// Which licence a model has, and whether it was accepted.
typedef struct {
    // The size that the caller gave.
    uint32_t struct_size;
    // 1 when a receipt covers exactly the present text, else 0.
    uint32_t accepted;
    // When it was accepted, in seconds since 1970; 0 when it was not.
    int64_t accepted_unix;
    // The licence's identifier, such as `llama4`.
    char id[PALISADE_NAME_SIZE];
    // Its name for people.
    char name[PALISADE_NAME_SIZE];
    // The model it is for.
    char model[PALISADE_NAME_SIZE];
    // Who accepted it; empty when nobody did.
    char party[PALISADE_NAME_SIZE];
    // SHA-256 of the text, in hexadecimal digits: what an acceptance must name.
    char text_sha256[PALISADE_SHA256_SIZE];
} palisade_license_t;

// Who accepts which text. Fill it with `palisade_acceptance_init` first. Texts are read during the call only.
typedef struct {
    // Set by the init function.
    uint32_t struct_size;
    // Zero.
    uint32_t reserved;
    // SHA-256 of the text that was shown, in hexadecimal digits.
    palisade_str_t text_sha256;
    // The person or organisation that accepts, in their own words; at most 1024 bytes.
    palisade_str_t party;
    // When, in seconds since 1970. The library reads no clock.
    int64_t time_unix;
} palisade_acceptance_t;

// What `palisade_session_open` needs. Fill it with `palisade_session_options_init` first. Texts are read during the call
// only.
typedef struct {
    // Set by the init function.
    uint32_t struct_size;
    // Zero.
    uint32_t reserved;
    // The system prompt: what the model is told before the dialog; empty = none.
    palisade_str_t system;
    // Language tag of the end user, such as `de` or `pt-BR`: refusals are worded in it where the policy can; empty = not
    // known.
    palisade_str_t locale;
} palisade_session_options_t;

// What is asked, and how the answer is made. Fill it with `palisade_request_options_init` first. Texts are read during
// the call only.
typedef struct {
    // Set by the init function.
    uint32_t struct_size;
    // Most tokens of the answer; 0 = the default, 512.
    uint32_t max_tokens;
    // The question. Needed.
    palisade_str_t text;
    // Texts that end the answer where they begin, `stop_count` of them; may be NULL with 0.
    const palisade_str_t *stop;
    // See `stop`; at most 64.
    size_t stop_count;
    // The host's time in seconds since 1970, for the audit log. The library reads no clock.
    int64_t time_unix;
    // For sampling: the same seed, question and dialog give the same answer.
    uint64_t seed;
    // 0 = always the likeliest token; to 100.
    float temperature;
    // Sample from that many of the likeliest tokens; 0 = from all.
    uint32_t top_k;
    // Sample from the likeliest tokens that together have this probability; 1 = from all.
    float top_p;
    // Sample from tokens at least this likely, relative to the likeliest; 0 = from all.
    float min_p;
    // Over 1 makes tokens that were there less likely; 1 = off.
    float repetition_penalty;
    // Makes a token less likely each time it was there; 0 = off.
    float frequency_penalty;
    // Makes a token less likely once it was there; 0 = off.
    float presence_penalty;
    // How many of the latest tokens of the answer the penalties look at.
    uint32_t penalty_window;
} palisade_request_options_t;

// What a guard saw.
typedef struct {
    // The size of this struct in the library's version.
    uint32_t struct_size;
    // What is done: `PALISADE_ACTION_...`.
    int32_t action;
    // Which way the text was going: `PALISADE_SIDE_...`.
    int32_t side;
    // What for: `PALISADE_CATEGORY_...`; later versions may add some.
    int32_t category;
    // The check's score, 0 to 1; 1 for a match. Not comparable across checks.
    float score;
    // The threshold it was held against; 0 for a match.
    float threshold;
    // The category's name, such as `S9` or `pii`; empty for none.
    palisade_str_t category_id;
    // The check that says so, such as `rules` or `classifier`.
    palisade_str_t check;
    // Where in the judged text, in bytes; equal to `span_end` when it is not known.
    uint64_t span_begin;
    // See `span_begin`.
    uint64_t span_end;
    // The rule that matched, where one did; for the developer, never for the end user.
    palisade_str_t rule;
    // SHA-256 of the policy that decided.
    uint8_t policy_sha256[32];
} palisade_verdict_t;

// How a request ended.
typedef struct {
    // The size of this struct in the library's version.
    uint32_t struct_size;
    // `PALISADE_END_...`
    int32_t reason;
    // `PALISADE_OK`, or with `PALISADE_END_ERROR` what went wrong.
    palisade_status_t status;
    // Zero.
    uint32_t reserved;
    // With `PALISADE_END_ERROR`: the error in words.
    palisade_str_t message;
    // The reason's name, such as `stop` or `blocked_input`.
    palisade_str_t reason_name;
    // Tokens of the prompt that were computed.
    uint64_t prompt_tokens;
    // Tokens that were generated, released or not.
    uint64_t generated_tokens;
    // Milliseconds spent on the prompt.
    double prefill_ms;
    // Milliseconds spent on generating.
    double decode_ms;
    // Milliseconds spent in the guards.
    double guard_ms;
    // Milliseconds from the start to the first released text; 0 when none was.
    double first_text_ms;
    // Milliseconds from the start to the end.
    double total_ms;
    // The longest that a released text had waited for its verdict, in milliseconds.
    double longest_hold_ms;
    // How long text waits at most at the rate of this answer, in milliseconds; 0 when no rate was measured.
    double hold_bound_ms;
    // Not negative when the check of the whole answer blocked after text had been released: what was shown from this byte of
    // the answer on has to be taken back. A host that cannot do that takes a policy whose stream mode is `whole`.
    int64_t retract_from;
} palisade_end_t;

// One event of a request. What it points to is borrowed: valid until the callback returns, or in the pull form until
// the next call on the request.
//
// A library older than this header gives a smaller `struct_size`; the fields beyond it are not there.
typedef struct {
    // The size of this struct in the library's version.
    uint32_t struct_size;
    // `PALISADE_EVENT_...`; later versions may add kinds, which a host ignores.
    int32_t kind;
    // The released text of `PALISADE_EVENT_TEXT`; the refusal to show at a `PALISADE_EVENT_END` that a guard caused.
    palisade_str_t text;
    // See `PALISADE_EVENT_PROGRESS`.
    uint64_t done;
    // See `PALISADE_EVENT_STARTED` and `PALISADE_EVENT_PROGRESS`.
    uint64_t total;
    // With `PALISADE_EVENT_VERDICT`, and with an end that a guard caused; else NULL.
    const palisade_verdict_t *verdict;
    // With `PALISADE_EVENT_END`; else NULL.
    const palisade_end_t *end;
} palisade_event_t;

// Receives the events of a request, in order, on the thread that called `palisade_session_ask`, with no lock held.
// Returns 0 to go on, 1 to cancel. It must not unwind (a C++ exception that leaves it ends the process) nor `longjmp`.
// Inside it the calls marked `[callback-safe]` are allowed, on the same session too.
typedef int32_t (*palisade_event_fn)(const palisade_event_t *event, void *user);

// Done.
#define PALISADE_OK 0

// A parameter has a value that the function cannot take; the message names it.
#define PALISADE_ARG 100

// A text is not UTF-8; the message gives the byte.
#define PALISADE_UTF8 101

// The call has no meaning at this moment.
#define PALISADE_STATE 102

// The handle is in use on another thread, or could not be freed in time.
#define PALISADE_BUSY 103

// The call was made from inside a callback of the same session, which allows only the calls marked
// `[callback-safe]`.
#define PALISADE_REENTRANT 104

// The handle was freed.
#define PALISADE_CLOSED 105

// The output buffer is too small; the needed size was written.
#define PALISADE_BUFFER 106

// The handle was made before a fork, by the parent process.
#define PALISADE_FORKED 107

// A callback returned a value that has no meaning, or did not return.
#define PALISADE_CALLBACK 108

// The model's licence has not been accepted for exactly its present text.
#define PALISADE_LICENSE 200

// A file is damaged or is not what it claims to be.
#define PALISADE_CORRUPT 201

// The file or the call asks for something this version does not do.
#define PALISADE_UNSUPPORTED 202

// A stated limit would be passed.
#define PALISADE_LIMIT 300

// The memory budget does not allow it, or memory could not be had.
#define PALISADE_MEMORY 301

// The operating system refused to read or write.
#define PALISADE_IO 302

// A guard could not judge; nothing was released.
#define PALISADE_GUARD_UNAVAILABLE 400

// A guard did not judge in time; nothing was released.
#define PALISADE_GUARD_TIMEOUT 401

// A guard answered with something that is no verdict; nothing was released.
#define PALISADE_GUARD_INVALID 402

// The host asked to stop.
#define PALISADE_CANCELLED 500

// The computation produced a value that is not a number.
#define PALISADE_NUMERIC 900

// A fault inside the library. The handle is poisoned: only its free function works.
#define PALISADE_INTERNAL 901

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The name of a status code, such as `"PALISADE_BUSY"`; `"PALISADE_UNKNOWN"` for a number that is none.
// The text is static.
//
// [any thread] [callback-safe]
const char *palisade_status_name(palisade_status_t status);

// The version of the library, such as `"0.1.0"`. The text is static.
//
// [any thread] [callback-safe]
const char *palisade_version(void);

// The ABI level of the library. A program built with this header works with every library of the same level:
//
// ```c
// if (palisade_abi_version() != PALISADE_ABI_VERSION) { ... another library than this header's was loaded ... }
// ```
//
// [any thread] [callback-safe]
uint32_t palisade_abi_version(void);

// Copies the message of the last call that failed on this thread, with its NUL, into `buf`. It is kept until the next
// call fails on this thread; it is empty when none has. At most 1000 bytes and the NUL.
//
// `needed` gets the size of the message with its NUL, also when `cap` is too small for it (`PALISADE_BUFFER`; `buf`
// is left as it is then). With `cap` 0 `buf` may be NULL.
//
// ```c
// char message[1024];
// size_t needed;
// if (palisade_last_error(message, sizeof message, &needed) == PALISADE_OK) puts(message);
// ```
//
// Errors: `PALISADE_ARG`, `PALISADE_BUFFER`. This function leaves the message alone when it fails itself.
//
// [any thread] [callback-safe]
//
// The caller vouches: `buf` points to `cap` bytes, `needed` to a `size_t`; both may be written.
palisade_status_t palisade_last_error(char *buf, size_t cap, size_t *needed);

// Sets where the library's messages go, for the whole process: those of `level` and of smaller numbers are given to
// `callback`, with `user` untouched. NULL for `callback` ends it, which is how a process begins.
// A message that another thread is giving out at that moment may still arrive at the old callback.
//
// ```c
// palisade_log_set(print_line, stderr, PALISADE_LOG_WARN);
// ```
//
// Errors: `PALISADE_ARG` for a level that is none.
//
// [any thread] [callback-safe]
//
// The caller vouches: The callback may be called until another one is set; it does not unwind and does not `longjmp`.
palisade_status_t palisade_log_set(palisade_log_fn callback, void *user, int32_t level);

// Notes in the audit log that the end user calls the last refusal of the session wrong. Without a log it only checks its
// arguments.
//
// ```c
// if (palisade_session_appeal(session, time(NULL)) == PALISADE_OK) puts("Thank you, we will look at it.");
// ```
//
// Errors: `PALISADE_ARG` when nothing was refused since the last appeal, `PALISADE_BUSY` while a request runs,
// `PALISADE_IO`, `PALISADE_REENTRANT`, `PALISADE_CLOSED`, `PALISADE_FORKED`.
//
// [one thread at a time]
PALISADE_CHECK_RESULT
palisade_status_t palisade_session_appeal(palisade_session_t *session,
                                          int64_t time_unix);

// Fills engine options with their defaults. Call it before setting any field, with the size of the struct as the
// program knows it; that is how a program built with another version of this header still works.
//
// ```c
// palisade_engine_options_t options;
// palisade_engine_options_init(&options, sizeof options);
// ```
//
// Errors: `PALISADE_ARG`.
//
// [any thread] [callback-safe]
//
// The caller vouches: `options` points to `size` bytes that may be written.
PALISADE_CHECK_RESULT palisade_status_t palisade_engine_options_init(palisade_engine_options_t *options, size_t size);

// Opens a model and its guards. It takes as long as reading the weights does; `on_progress` tells how far it is and can
// cancel. The licence is not asked for here, but by the first request: see `palisade_license_status`.
//
// Ownership: on success `*engine` is the caller's, who gives it up with `palisade_engine_free`.
// On failure nothing is written and nothing is kept.
//
// ```c
// palisade_engine_t *engine = NULL;
// options.model = palisade_str("model.gguf");
// if (palisade_engine_open(&options, &engine) != PALISADE_OK) { ... }
// ```
//
// Errors: `PALISADE_ARG`, `PALISADE_UTF8`, `PALISADE_IO`, `PALISADE_CORRUPT`, `PALISADE_UNSUPPORTED`,
// `PALISADE_MEMORY`, `PALISADE_LIMIT`, `PALISADE_GUARD_UNAVAILABLE`, `PALISADE_CANCELLED`,
// `PALISADE_CALLBACK` when `on_progress` returned something other than 0 and 1.
//
// [any thread]
//
// The caller vouches: `options` points to a struct of the size it says, its texts to their bytes; `engine` may be written.
PALISADE_CHECK_RESULT
palisade_status_t palisade_engine_open(const palisade_engine_options_t *options,
                                       palisade_engine_t **engine);

// Tells what an engine is. `size` is the size of the struct as the program knows it.
//
// ```c
// palisade_engine_info_t info;
// if (palisade_engine_info(engine, &info, sizeof info) == PALISADE_OK) puts(info.model);
// ```
//
// Errors: `PALISADE_ARG`, `PALISADE_CLOSED`, `PALISADE_FORKED`.
//
// [any thread] [callback-safe]
//
// The caller vouches: `info` points to `size` bytes that may be written.
PALISADE_CHECK_RESULT
palisade_status_t palisade_engine_info(const palisade_engine_t *engine,
                                       palisade_engine_info_t *info,
                                       size_t size);

// Gives up an engine and sets `*engine` to NULL. Its open sessions go on and keep what they need of it.
// NULL, and a pointer to NULL, is a harmless no-op.
//
// ```c
// palisade_engine_free(&engine);
// ```
//
// Errors: `PALISADE_CLOSED` when it was freed through a copy of the handle before (nothing happens), `PALISADE_ARG`
// for something that is no engine. In a forked child the parent's handle is only set to NULL.
//
// [any thread] [callback-safe]
//
// The caller vouches: `engine` is NULL or points to a handle that may be written.
palisade_status_t palisade_engine_free(palisade_engine_t **engine);

// Copies the text of the model's licence, with a NUL, into `buf`: what is to be shown before it is accepted. Where there is
// a guard model, its licence comes once the model's was accepted.
// `needed`, `cap` and `buf` are as in `palisade_last_error`.
//
// ```c
// size_t needed;
// palisade_license_text(engine, NULL, 0, &needed);
// char *text = malloc(needed);
// if (text != NULL && palisade_license_text(engine, text, needed, &needed) == PALISADE_OK) puts(text);
// ```
//
// Errors: `PALISADE_ARG`, `PALISADE_BUFFER`, `PALISADE_CLOSED`, `PALISADE_FORKED`.
//
// [any thread] [callback-safe]
//
// The caller vouches: `buf` points to `cap` bytes, `needed` to a `size_t`; both may be written.
palisade_status_t palisade_license_text(const palisade_engine_t *engine,
                                        char *buf,
                                        size_t cap,
                                        size_t *needed);

// Copies the lines that the model's licence asks its users to display or to ship, one below the other, with a NUL; empty
// when it is known to ask for none. For Llama 4 they are "Built with Llama" and the notice of its licence.
// `needed`, `cap` and `buf` are as in `palisade_last_error`.
//
// ```c
// char lines[256];
// if (palisade_license_notices(engine, lines, sizeof lines, &needed) == PALISADE_OK) show_on_about_page(lines);
// ```
//
// Errors: `PALISADE_ARG`, `PALISADE_BUFFER`, `PALISADE_CLOSED`, `PALISADE_FORKED`.
//
// [any thread] [callback-safe]
//
// The caller vouches: `buf` points to `cap` bytes, `needed` to a `size_t`; both may be written.
palisade_status_t palisade_license_notices(const palisade_engine_t *engine,
                                           char *buf,
                                           size_t cap,
                                           size_t *needed);

// Tells which licence the model has and whether it was accepted. `size` is the size of the struct as the program knows
// it. With a guard model there are two: the one told of is the first that was not accepted, so that a program shows and
// accepts until it reads that all is accepted. A receipt that is damaged counts as none, and the log says so.
//
// ```c
// palisade_license_t license;
// if (palisade_license_status(engine, &license, sizeof license) == PALISADE_OK && !license.accepted) { ... }
// ```
//
// Errors: `PALISADE_ARG`, `PALISADE_IO`, `PALISADE_CLOSED`, `PALISADE_FORKED`.
//
// [any thread] [callback-safe]
//
// The caller vouches: `license` points to `size` bytes that may be written.
PALISADE_CHECK_RESULT
palisade_status_t palisade_license_status(const palisade_engine_t *engine,
                                          palisade_license_t *license,
                                          size_t size);

// Fills an acceptance with zeros and its size. Call it before setting any field, with the size of the struct as the
// program knows it.
//
// ```c
// palisade_acceptance_t acceptance;
// palisade_acceptance_init(&acceptance, sizeof acceptance);
// ```
//
// Errors: `PALISADE_ARG`.
//
// [any thread] [callback-safe]
//
// The caller vouches: `acceptance` points to `size` bytes that may be written.
PALISADE_CHECK_RESULT palisade_status_t palisade_acceptance_init(palisade_acceptance_t *acceptance, size_t size);

// Accepts the model's licence in the name of a party and writes the receipt. The acceptance must name the SHA-256 of
// exactly the present text, so a program cannot accept what it has never held.
//
// ```c
// acceptance.text_sha256 = palisade_str(license.text_sha256);
// acceptance.party = palisade_str("Example Museum");
// acceptance.time_unix = (int64_t)time(NULL);
// if (palisade_license_accept(engine, &acceptance) != PALISADE_OK) { ... }
// ```
//
// Errors: `PALISADE_LICENSE` when the hash is that of another text, `PALISADE_ARG`, `PALISADE_UTF8`, `PALISADE_IO` when
// the receipt cannot be written (the licence is not accepted then), `PALISADE_BUSY` when another process holds the
// state folder, `PALISADE_CLOSED`, `PALISADE_FORKED`.
//
// [any thread]
//
// The caller vouches: `acceptance` points to a struct of the size it says, its texts to their bytes.
PALISADE_CHECK_RESULT
palisade_status_t palisade_license_accept(palisade_engine_t *engine,
                                          const palisade_acceptance_t *acceptance);

// Fills session options with their defaults. Call it before setting any field, with the size of the struct as the
// program knows it.
//
// ```c
// palisade_session_options_t options;
// palisade_session_options_init(&options, sizeof options);
// ```
//
// Errors: `PALISADE_ARG`.
//
// [any thread] [callback-safe]
//
// The caller vouches: `options` points to `size` bytes that may be written.
PALISADE_CHECK_RESULT palisade_status_t palisade_session_options_init(palisade_session_options_t *options, size_t size);

// Opens a session of an engine.
//
// Ownership: on success `*session` is the caller's, who gives it up with `palisade_session_free`. It keeps what it
// needs of the engine alive. On failure nothing is written.
//
// ```c
// palisade_session_t *session = NULL;
// options.system = palisade_str("You answer questions about the museum.");
// if (palisade_session_open(engine, &options, &session) != PALISADE_OK) { ... }
// ```
//
// Errors: `PALISADE_ARG`, `PALISADE_UTF8`, `PALISADE_LIMIT`, `PALISADE_MEMORY`, `PALISADE_CLOSED`, `PALISADE_FORKED`.
//
// [any thread]
//
// The caller vouches: `options` points to a struct of the size it says, its texts to their bytes; `session` may be
// written.
PALISADE_CHECK_RESULT
palisade_status_t palisade_session_open(palisade_engine_t *engine,
                                        const palisade_session_options_t *options,
                                        palisade_session_t **session);

// Asks, and gives the events of the answer to `on_event` as they come: STARTED, PROGRESS, TEXT and VERDICT in their
// order, END last and exactly once. It returns after END.
//
// A call that is refused before it began (a bad argument, a licence that was not accepted, a session in use) gives no
// event. Once there was an event there is an END, also after a cancel, a block or an error. Blocked and cancelled are
// ends, not errors: `PALISADE_OK`. With `PALISADE_END_ERROR` the function returns that end's status.
//
// ```c
// static int32_t on_event(const palisade_event_t *event, void *user) {
//     if (event->kind == PALISADE_EVENT_TEXT) fwrite(event->text.data, 1, event->text.len, user);
//     return 0;
// }
// request.text = palisade_str("When do you open?");
// if (palisade_session_ask(session, &request, on_event, stdout) != PALISADE_OK) { ... }
// ```
//
// Errors: `PALISADE_LICENSE`, `PALISADE_ARG`, `PALISADE_UTF8`, `PALISADE_LIMIT` (the text does not fit the context; the
// message gives the numbers), `PALISADE_BUSY`, `PALISADE_REENTRANT`, `PALISADE_MEMORY`, `PALISADE_GUARD_...`,
// `PALISADE_NUMERIC`, `PALISADE_IO`, `PALISADE_CALLBACK` when `on_event` returned something other than 0 and 1 (the
// request was cancelled then), `PALISADE_INTERNAL`, `PALISADE_CLOSED`, `PALISADE_FORKED`.
//
// [one thread at a time]
//
// The caller vouches: `request` points to a struct of the size it says, its texts to their bytes; `on_event` does not
// unwind and does not `longjmp`.
PALISADE_CHECK_RESULT
palisade_status_t palisade_session_ask(palisade_session_t *session,
                                       const palisade_request_options_t *request,
                                       palisade_event_fn on_event,
                                       void *user);

// Asks the running request of a session to stop, in either form, and returns at once; its END tells when it has. Without
// a running request nothing happens, and the next one is not concerned. Not for signal handlers.
//
// ```c
// palisade_session_cancel(session);
// ```
//
// Errors: `PALISADE_ARG`, `PALISADE_CLOSED`, `PALISADE_FORKED`.
//
// [any thread] [callback-safe]
palisade_status_t palisade_session_cancel(palisade_session_t *session);

// Forgets the dialog; what the session was opened with stays.
//
// ```c
// if (palisade_session_reset(session) != PALISADE_OK) { ... }
// ```
//
// Errors: `PALISADE_BUSY` while a request runs, `PALISADE_REENTRANT`, `PALISADE_ARG`, `PALISADE_CLOSED`,
// `PALISADE_FORKED`.
//
// [one thread at a time]
PALISADE_CHECK_RESULT palisade_status_t palisade_session_reset(palisade_session_t *session);

// Counts the tokens of a text as a person's words, without those of the chat format around it.
//
// ```c
// size_t count;
// if (palisade_tokens_count(session, palisade_str("When do you open?"), &count) == PALISADE_OK) { ... }
// ```
//
// Errors: `PALISADE_ARG`, `PALISADE_UTF8`, `PALISADE_LIMIT`, `PALISADE_CLOSED`, `PALISADE_FORKED`.
//
// [any thread] [callback-safe]
//
// The caller vouches: `text` points to its bytes, `count` may be written.
PALISADE_CHECK_RESULT
palisade_status_t palisade_tokens_count(const palisade_session_t *session,
                                        palisade_str_t text,
                                        size_t *count);

// Gives up a session and sets `*session` to NULL. A request that runs is cancelled; when `palisade_session_ask` runs on
// another thread, this waits until its callback and it have returned, at most 2 seconds. A request in the pull form
// stays to be read to its END and freed. NULL, and a pointer to NULL, is a harmless no-op.
//
// ```c
// palisade_session_free(&session);
// ```
//
// Errors: `PALISADE_BUSY` when the call did not return in time, or is the one whose callback this is called from: it
// was asked to stop, and nothing is freed. `PALISADE_CLOSED` when the session was freed through a copy of the handle
// before (nothing happens), `PALISADE_ARG`. In a forked child the parent's handle is only set to NULL.
//
// [any thread]
//
// The caller vouches: `session` is NULL or points to a handle that may be written.
palisade_status_t palisade_session_free(palisade_session_t **session);

// Fills request options with their defaults. Call it before setting any field, with the size of the struct as the
// program knows it.
//
// ```c
// palisade_request_options_t request;
// palisade_request_options_init(&request, sizeof request);
// ```
//
// Errors: `PALISADE_ARG`.
//
// [any thread] [callback-safe]
//
// The caller vouches: `options` points to `size` bytes that may be written.
PALISADE_CHECK_RESULT palisade_status_t palisade_request_options_init(palisade_request_options_t *options, size_t size);

// Asks in the pull form: the events are read with `palisade_request_next`. For languages that had rather not be called
// from C. The session takes no other request until this one has ended or is freed.
//
// Ownership: on success `*request` is the caller's, who gives it up with `palisade_request_free`. It keeps what it
// needs of the session alive. On failure nothing is written.
//
// ```c
// palisade_request_t *running = NULL;
// if (palisade_session_start(session, &request, &running) != PALISADE_OK) { ... }
// ```
//
// Errors: those of `palisade_session_ask` that come before its first event.
//
// [one thread at a time]
//
// The caller vouches: `options` points to a struct of the size it says, its texts to their bytes; `request` may be
// written.
PALISADE_CHECK_RESULT
palisade_status_t palisade_session_start(palisade_session_t *session,
                                         const palisade_request_options_t *options,
                                         palisade_request_t **request);

// Waits for the next event of a request and points `*event` to it; to NULL after END. What it points to is valid until
// the next call on the request. An END with `PALISADE_END_ERROR` is an event like any other: `PALISADE_OK`.
//
// ```c
// const palisade_event_t *event;
// while (palisade_request_next(running, &event) == PALISADE_OK && event != NULL) { ... }
// ```
//
// Errors: `PALISADE_ARG`, `PALISADE_BUSY` when another thread is waiting, `PALISADE_CLOSED`, `PALISADE_FORKED`.
//
// [one thread at a time]
//
// The caller vouches: `event` may be written.
PALISADE_CHECK_RESULT
palisade_status_t palisade_request_next(palisade_request_t *request,
                                        const palisade_event_t **event);

// Gives up a request and sets `*request` to NULL. When it has not ended it is cancelled; a `palisade_request_next` that
// waits on another thread is waited for, at most 2 seconds. NULL, and a pointer to NULL, is a harmless no-op.
//
// ```c
// palisade_request_free(&running);
// ```
//
// Errors: `PALISADE_BUSY` when the call did not return in time (nothing is freed), `PALISADE_CLOSED` when the request was
// freed through a copy of the handle before (nothing happens), `PALISADE_ARG`. In a forked child the parent's handle is
// only set to NULL.
//
// [any thread]
//
// The caller vouches: `request` is NULL or points to a handle that may be written.
palisade_status_t palisade_request_free(palisade_request_t **request);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

/* A view of a NUL-terminated text, without its NUL; an empty view for NULL. */
static inline palisade_str_t palisade_str(const char *text) {
    palisade_str_t view;
    view.data = text;
    view.len = 0;
    while (text && text[view.len]) view.len++;
    return view;
}

#endif /* PALISADE_H */

/* The contract of the C ABI, case by case, on a real engine.
 *
 *     contract MODEL FOLDER CASE...
 *
 * Each case says what it found wrong and the program then ends with 1. FOLDER is for receipts and logs. */
#include "contract.h"

#include <time.h>

const char *model, *folder;
palisade_engine_t *engine;

const char *last_error(void) {
    static char message[1024];
    size_t needed;
    return palisade_last_error(message, sizeof message, &needed) == PALISADE_OK ? message : "?";
}

void nap(long milliseconds) {
    struct timespec left;
    left.tv_sec = milliseconds / 1000;
    left.tv_nsec = milliseconds % 1000 * 1000000;
    while (nanosleep(&left, &left) != 0) {}
}

double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

int32_t on_event(const palisade_event_t *event, void *user) {
    seen_t *seen = user;
    if (seen->ends) seen->after_end++;
    if (event->kind == PALISADE_EVENT_STARTED) seen->started++;
    if (seen->gate && *seen->gate == 0) {
        *seen->gate = 1;
        while (*seen->gate == 1) nap(1);
    }
    if (seen->nap_ms) nap(seen->nap_ms), seen->nap_ms = 0;
    if (event->kind == PALISADE_EVENT_TEXT && seen->len + event->text.len < sizeof seen->text) {
        memcpy(seen->text + seen->len, event->text.data, event->text.len);
        seen->len += event->text.len;
        seen->texts++;
    }
    if (event->kind == PALISADE_EVENT_END) {
        seen->ends++;
        seen->reason = event->end->reason;
        seen->status = event->end->status;
        return 0;
    }
    return seen->answer;
}

palisade_request_options_t question(const char *text, uint32_t max_tokens) {
    palisade_request_options_t request;
    if (palisade_request_options_init(&request, sizeof request) != PALISADE_OK) abort();
    request.text = palisade_str(text);
    request.max_tokens = max_tokens;
    request.temperature = 0.0f;
    return request;
}

palisade_engine_options_t engine_options(void) {
    palisade_engine_options_t options;
    if (palisade_engine_options_init(&options, sizeof options) != PALISADE_OK) abort();
    options.model = palisade_str(model);
    options.state_dir = palisade_str(folder);
    options.context = 512;
    return options;
}

palisade_session_t *new_session(void) {
    palisade_session_options_t options;
    palisade_session_t *session = NULL;
    if (palisade_session_options_init(&options, sizeof options) != PALISADE_OK) abort();
    if (palisade_session_open(engine, &options, &session) != PALISADE_OK) {
        fprintf(stderr, "no session: %s\n", last_error());
        abort();
    }
    return session;
}

const char *const QUESTION = "When are you open on Sunday?";

palisade_status_t ask(palisade_session_t *session, seen_t *seen, uint32_t max_tokens) {
    const palisade_request_options_t request = question(QUESTION, max_tokens);
    return palisade_session_ask(session, &request, on_event, seen);
}

static void *asking(void *user) {
    asking_t *call = user;
    call->status = ask(call->session, &call->seen, call->max_tokens);
    return NULL;
}

void begin(asking_t *call, palisade_session_t *session, uint32_t max_tokens) {
    call->session = session;
    call->max_tokens = max_tokens;
    if (pthread_create(&call->thread, NULL, asking, call) != 0) abort();
}

static const struct {
    const char *name;
    int (*run)(void);
} ALL[] = {
#define ENTRY(name) {#name, name},
    CASES(ENTRY)
};

/* Opens the shared engine and accepts its licence where that was not done yet. */
static int open_engine(void) {
    palisade_engine_options_t options = engine_options();
    palisade_acceptance_t acceptance;
    palisade_license_t license;
    GIVES(PALISADE_OK, palisade_engine_open(&options, &engine));
    GIVES(PALISADE_OK, palisade_license_status(engine, &license, sizeof license));
    if (license.accepted) return 0;
    GIVES(PALISADE_OK, palisade_acceptance_init(&acceptance, sizeof acceptance));
    acceptance.text_sha256 = palisade_str(license.text_sha256);
    acceptance.party = palisade_str("The contract test");
    GIVES(PALISADE_OK, palisade_license_accept(engine, &acceptance));
    return 0;
}

int main(int argc, char **argv) {
    int i;
    size_t c;
    if (argc < 4) return 2;
    model = argv[1];
    folder = argv[2];
    if (open_engine()) return 1;
    for (i = 3; i < argc; i++) {
        for (c = 0; c < sizeof ALL / sizeof *ALL; c++) {
            double start = now();
            if (strcmp(ALL[c].name, argv[i]) != 0) continue;
            if (ALL[c].run()) {
                fprintf(stderr, "FAILED %s\n", argv[i]);
                return 1;
            }
            fprintf(stderr, "ok %s (%.2f s)\n", argv[i], now() - start);
            break;
        }
        if (c == sizeof ALL / sizeof *ALL) return 2;
    }
    return palisade_engine_free(&engine) == PALISADE_OK ? 0 : 1;
}

/* Asks a model one question and streams the answer, with the licence accepted on the way.
 *
 *     hello MODEL [QUESTION [PARTY [STATE_DIR]]]
 *
 * Without PARTY (who accepts the model's licence) it shows the licence and stops there. */
#include <palisade.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int failed(const char *what) {
    char message[1024];
    size_t needed;
    if (palisade_last_error(message, sizeof message, &needed) != PALISADE_OK) message[0] = '\0';
    fprintf(stderr, "%s: %s\n", what, message);
    return 1;
}

/* Called for each piece of the answer, in order; the piece was judged before it came here. */
static int32_t on_event(const palisade_event_t *event, void *user) {
    FILE *out = user;
    if (event->kind == PALISADE_EVENT_TEXT) {
        fwrite(event->text.data, 1, event->text.len, out);
        fflush(out);
    } else if (event->kind == PALISADE_EVENT_END) {
        if (event->text.len > 0) fprintf(out, "%.*s", (int)event->text.len, event->text.data); /* a refusal */
        fprintf(out, "\n[%.*s, %llu tokens]\n", (int)event->end->reason_name.len, event->end->reason_name.data,
                (unsigned long long)event->end->generated_tokens);
    }
    return 0; /* 1 would cancel */
}

/* Shows the licence; with a party, accepts it. Returns 0 when the model may be used. */
static int settle_license(palisade_engine_t *engine, const char *party) {
    palisade_license_t license;
    palisade_acceptance_t acceptance;
    size_t needed;
    char *text;

    if (palisade_license_status(engine, &license, sizeof license) != PALISADE_OK) return failed("licence");
    if (license.accepted) return 0;
    palisade_license_text(engine, NULL, 0, &needed);
    text = malloc(needed);
    if (text == NULL) return 1;
    if (palisade_license_text(engine, text, needed, &needed) != PALISADE_OK) {
        free(text);
        return failed("licence");
    }
    printf("licence \"%s\":\n%s\n", license.name, text);
    free(text);
    if (party == NULL) {
        puts("Name the party that accepts it to go on.");
        return 3;
    }
    if (palisade_acceptance_init(&acceptance, sizeof acceptance) != PALISADE_OK) return failed("licence");
    acceptance.text_sha256 = palisade_str(license.text_sha256);
    acceptance.party = palisade_str(party);
    acceptance.time_unix = (int64_t)time(NULL);
    if (palisade_license_accept(engine, &acceptance) != PALISADE_OK) return failed("licence");
    printf("accepted by %s\n", party);
    return 0;
}

static int ask(palisade_engine_t *engine, const char *question) {
    palisade_session_options_t dialog;
    palisade_request_options_t request;
    palisade_session_t *session = NULL;
    palisade_status_t status;

    if (palisade_session_options_init(&dialog, sizeof dialog) != PALISADE_OK) return failed("session");
    if (palisade_request_options_init(&request, sizeof request) != PALISADE_OK) return failed("request");
    if (palisade_session_open(engine, &dialog, &session) != PALISADE_OK) return failed("session");
    request.text = palisade_str(question);
    request.max_tokens = 64;
    request.temperature = 0.0f; /* always the likeliest token: the same answer every time */
    request.time_unix = (int64_t)time(NULL);
    printf("> %s\n", question);
    status = palisade_session_ask(session, &request, on_event, stdout);
    palisade_session_free(&session);
    return status == PALISADE_OK ? 0 : failed("asking");
}

int main(int argc, char **argv) {
    palisade_engine_options_t options;
    palisade_engine_info_t info;
    palisade_engine_t *engine = NULL;
    int result;

    if (argc < 2) {
        fprintf(stderr, "usage: %s MODEL [QUESTION [PARTY [STATE_DIR]]]\n", argv[0]);
        return 2;
    }
    if (palisade_engine_options_init(&options, sizeof options) != PALISADE_OK) return failed("options");
    options.model = palisade_str(argv[1]);
    options.state_dir = palisade_str(argc > 4 ? argv[4] : NULL); /* none: receipts last as long as the engine */
    if (palisade_engine_open(&options, &engine) != PALISADE_OK) return failed("opening the model");

    result = palisade_engine_info(engine, &info, sizeof info) == PALISADE_OK ? 0 : failed("info");
    if (result == 0) printf("%s (%s)\n", info.model, info.architecture);
    if (result == 0) result = settle_license(engine, argc > 3 ? argv[3] : NULL);
    if (result == 0) result = ask(engine, argc > 2 ? argv[2] : "When are you open?");
    palisade_engine_free(&engine);
    return result;
}

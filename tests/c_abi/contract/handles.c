/* Handles: freed, foreign, and outliving each other. */
#include "contract.h"

/* C02 */
int free_of_null(void) {
    palisade_engine_t *no_engine = NULL;
    palisade_session_t *no_session = NULL;
    palisade_request_t *no_request = NULL;
    int i;
    for (i = 0; i < 2; i++) {
        GIVES(PALISADE_OK, palisade_engine_free(NULL));
        GIVES(PALISADE_OK, palisade_session_free(NULL));
        GIVES(PALISADE_OK, palisade_request_free(NULL));
        GIVES(PALISADE_OK, palisade_engine_free(&no_engine));
        GIVES(PALISADE_OK, palisade_session_free(&no_session));
        GIVES(PALISADE_OK, palisade_request_free(&no_request));
    }
    return 0;
}

/* Every function on a session handle that is no good gives the same code. */
int every_session_call_gives(palisade_session_t *handle, palisade_status_t code) {
    const palisade_request_options_t request = question(QUESTION, 1);
    palisade_request_t *running = POISON;
    palisade_session_t *copy = handle;
    size_t count = 77;
    seen_t seen = {0};
    GIVES(code, palisade_session_ask(handle, &request, on_event, &seen));
    GIVES(code, palisade_session_start(handle, &request, &running));
    GIVES(code, palisade_session_cancel(handle));
    GIVES(code, palisade_session_reset(handle));
    GIVES(code, palisade_session_appeal(handle, 1));
    GIVES(code, palisade_tokens_count(handle, palisade_str("a"), &count));
    if (code == PALISADE_FORKED) return 0; /* freeing is allowed there */
    GIVES(code, palisade_session_free(&copy));
    CHECK(copy == handle && running == POISON && count == 77 && seen.ends == 0);
    return 0;
}

int every_engine_call_gives(palisade_engine_t *handle, palisade_status_t code) {
    palisade_engine_info_t info;
    palisade_license_t license;
    palisade_acceptance_t acceptance;
    palisade_session_options_t options;
    palisade_session_t *session = POISON;
    palisade_engine_t *copy = handle;
    char buf[8];
    size_t needed = 77;
    GIVES(PALISADE_OK, palisade_session_options_init(&options, sizeof options));
    GIVES(PALISADE_OK, palisade_acceptance_init(&acceptance, sizeof acceptance));
    memset(&info, 0xA5, sizeof info);
    GIVES(code, palisade_engine_info(handle, &info, sizeof info));
    GIVES(code, palisade_license_text(handle, buf, sizeof buf, &needed));
    GIVES(code, palisade_license_notices(handle, buf, sizeof buf, &needed));
    GIVES(code, palisade_license_status(handle, &license, sizeof license));
    GIVES(code, palisade_license_accept(handle, &acceptance));
    GIVES(code, palisade_session_open(handle, &options, &session));
    if (code == PALISADE_FORKED) return 0;
    GIVES(code, palisade_engine_free(&copy));
    CHECK(copy == handle && session == POISON && needed == 77 && info.struct_size == 0xA5A5A5A5u);
    return 0;
}

/* C03, C04 */
int freed_handles_stay_freed(void) {
    palisade_session_t *first = NULL, *session, *copy;
    palisade_request_t *running, *stale;
    palisade_engine_options_t options = engine_options();
    palisade_engine_t *other = NULL, *old;
    const palisade_event_t *event = POISON;
    const palisade_request_options_t request = question(QUESTION, 2);
    int i;
    for (i = 0; i < 20; i++) {
        session = copy = new_session();
        if (first == NULL) first = copy;
        GIVES(PALISADE_OK, palisade_session_free(&session));
        CHECK(session == NULL);
        if (every_session_call_gives(copy, PALISADE_CLOSED)) return 1;
    }
    if (every_session_call_gives(first, PALISADE_CLOSED)) return 1;

    session = new_session();
    GIVES(PALISADE_OK, palisade_session_start(session, &request, &running));
    stale = running;
    GIVES(PALISADE_OK, palisade_request_free(&running));
    CHECK(running == NULL);
    GIVES(PALISADE_CLOSED, palisade_request_next(stale, &event));
    GIVES(PALISADE_CLOSED, palisade_request_free(&stale));
    CHECK(stale != NULL && event == POISON);
    GIVES(PALISADE_OK, palisade_session_free(&session));

    GIVES(PALISADE_OK, palisade_engine_open(&options, &other));
    old = other;
    GIVES(PALISADE_OK, palisade_engine_free(&other));
    return every_engine_call_gives(old, PALISADE_CLOSED);
}

/* C05 */
int foreign_handles_are_refused(void) {
    palisade_session_t *session = new_session();
    uint64_t state = 88172645463325252ull;
    int here, i;
    if (every_session_call_gives((palisade_session_t *)engine, PALISADE_ARG)) return 1;
    if (every_engine_call_gives((palisade_engine_t *)session, PALISADE_ARG)) return 1;
    if (every_session_call_gives((palisade_session_t *)&here, PALISADE_ARG)) return 1;
    if (every_engine_call_gives((palisade_engine_t *)&here, PALISADE_ARG)) return 1;
    for (i = 0; i < 1000; i++) {
        palisade_status_t status;
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        status = palisade_session_cancel((palisade_session_t *)(uintptr_t)state);
        CHECK(status == PALISADE_ARG || status == PALISADE_FORKED || status == PALISADE_CLOSED);
    }
    GIVES(PALISADE_OK, palisade_session_free(&session));
    return 0;
}

/* The pull form gives what the push form gives. */
int both_forms_give_the_same(void) {
    palisade_session_t *session = new_session();
    palisade_request_t *running = NULL;
    const palisade_event_t *event = NULL;
    const palisade_request_options_t request = question(QUESTION, 24);
    seen_t pushed = {0}, pulled = {0};
    GIVES(PALISADE_OK, ask(session, &pushed, 24));
    GIVES(PALISADE_OK, palisade_session_reset(session));
    GIVES(PALISADE_OK, palisade_session_start(session, &request, &running));
    do {
        GIVES(PALISADE_OK, palisade_request_next(running, &event));
        if (event) {
            CHECK(event->struct_size == sizeof *event);
            on_event(event, &pulled);
        }
    } while (event);
    GIVES(PALISADE_OK, palisade_request_next(running, &event));
    CHECK(event == NULL && pulled.ends == 1 && pulled.started == 1 && pulled.after_end == 0);
    CHECK(pulled.reason == pushed.reason && pulled.len == pushed.len);
    CHECK(memcmp(pulled.text, pushed.text, pushed.len) == 0);
    GIVES(PALISADE_OK, palisade_request_free(&running));
    GIVES(PALISADE_OK, palisade_session_free(&session));
    return 0;
}

/* Freeing a request that has ended, or whose end was not read, does not stop the one that runs now. */
static int32_t on_event_frees(const palisade_event_t *event, void *user) {
    void **both = user; /* what was seen, and the old request */
    palisade_request_t **old = (palisade_request_t **)&both[1];
    if (event->kind == PALISADE_EVENT_STARTED && palisade_request_free(old) != PALISADE_OK) return 9;
    return on_event(event, both[0]);
}

int an_old_request_does_not_stop_a_new_one(void) {
    const palisade_request_options_t request = question(QUESTION, 4);
    palisade_session_t *session = new_session();
    int unread;
    for (unread = 0; unread < 2; unread++) {
        palisade_request_t *old = NULL;
        const palisade_event_t *event = NULL;
        palisade_status_t status;
        seen_t seen = {0}, first = {0};
        void *both[2];
        GIVES(PALISADE_OK, palisade_session_start(session, &request, &old));
        do { /* until the session is free for another, which it is before the end was read */
            GIVES(PALISADE_OK, palisade_request_next(old, &event));
            if (event) on_event(event, &first);
            status = unread ? palisade_session_reset(session) : PALISADE_BUSY;
        } while (event && status == PALISADE_BUSY);
        CHECK(unread || first.ends == 1);
        GIVES(PALISADE_OK, palisade_session_reset(session));
        both[0] = &seen;
        both[1] = old;
        GIVES(PALISADE_OK, palisade_session_ask(session, &request, on_event_frees, both));
        CHECK(both[1] == NULL && seen.ends == 1 && seen.reason != PALISADE_END_CANCELLED);
    }
    GIVES(PALISADE_OK, palisade_session_free(&session));
    return 0;
}

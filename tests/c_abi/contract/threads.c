/* Threads and callbacks. */
#include "contract.h"

#include <limits.h>

/* C06 */
int two_threads_on_one_session(void) {
    palisade_session_t *session = new_session();
    const palisade_request_options_t request = question(QUESTION, 4);
    palisade_request_t *running = POISON;
    int round;
    for (round = 0; round < 10; round++) {
        asking_t call = {0};
        seen_t seen = {0};
        volatile int gate = 0;
        double start;
        call.seen.gate = &gate;
        begin(&call, session, 4);
        while (gate == 0) nap(1);
        start = now();
        GIVES(PALISADE_BUSY, ask(session, &seen, 4));
        GIVES(PALISADE_BUSY, palisade_session_start(session, &request, &running));
        GIVES(PALISADE_BUSY, palisade_session_reset(session));
        GIVES(PALISADE_BUSY, palisade_session_appeal(session, 1));
        CHECK(now() - start < 0.5 && seen.ends == 0 && running == POISON);
        gate = 2;
        pthread_join(call.thread, NULL);
        CHECK(call.status == PALISADE_OK && call.seen.started == 1 && call.seen.ends == 1);
    }
    GIVES(PALISADE_OK, palisade_session_free(&session));
    return 0;
}

/* C07 */
int two_sessions_on_two_threads(void) {
    seen_t alone = {0};
    asking_t calls[2];
    palisade_session_t *session = new_session();
    int i;
    GIVES(PALISADE_OK, ask(session, &alone, 24));
    GIVES(PALISADE_OK, palisade_session_free(&session));
    memset(calls, 0, sizeof calls);
    for (i = 0; i < 2; i++) begin(&calls[i], new_session(), 24);
    for (i = 0; i < 2; i++) {
        pthread_join(calls[i].thread, NULL);
        CHECK(calls[i].status == PALISADE_OK && calls[i].seen.len == alone.len);
        CHECK(memcmp(calls[i].seen.text, alone.text, alone.len) == 0);
        GIVES(PALISADE_OK, palisade_session_free(&calls[i].session));
    }
    return 0;
}

/* C08 */
int free_of_a_busy_session(void) {
    palisade_session_t *session = new_session(), *kept = session;
    asking_t slow = {0}, quick = {0};
    volatile int gate = 0;
    double start;

    slow.seen.gate = &gate;
    begin(&slow, session, 64);
    while (gate == 0) nap(1);
    start = now();
    GIVES(PALISADE_BUSY, palisade_session_free(&session));
    CHECK(session == kept && now() - start > 1.9 && now() - start < 4.0);
    gate = 2;
    pthread_join(slow.thread, NULL);
    CHECK(slow.status == PALISADE_OK && slow.seen.ends == 1 && slow.seen.reason == PALISADE_END_CANCELLED);

    quick.seen.nap_ms = 50;
    begin(&quick, session, 256);
    nap(20);
    GIVES(PALISADE_OK, palisade_session_free(&session));
    CHECK(session == NULL);
    pthread_join(quick.thread, NULL);
    CHECK(quick.seen.ends <= 1 && quick.seen.after_end == 0);
    return 0;
}

/* C09 */
int sessions_outlive_their_engine(void) {
    palisade_engine_options_t options = engine_options();
    palisade_session_options_t dialog;
    palisade_engine_t *own = NULL, *freed;
    palisade_session_t *session = NULL, *second = POISON;
    palisade_request_t *running = NULL;
    const palisade_event_t *event = NULL;
    const palisade_request_options_t request = question(QUESTION, 4);
    int ends = 0;
    seen_t seen = {0};
    GIVES(PALISADE_OK, palisade_session_options_init(&dialog, sizeof dialog));
    GIVES(PALISADE_OK, palisade_engine_open(&options, &own));
    freed = own;
    GIVES(PALISADE_OK, palisade_session_open(own, &dialog, &session));
    GIVES(PALISADE_OK, palisade_engine_free(&own));
    GIVES(PALISADE_CLOSED, palisade_session_open(freed, &dialog, &second));
    CHECK(second == POISON);
    GIVES(PALISADE_OK, ask(session, &seen, 4));
    CHECK(seen.ends == 1 && seen.texts > 0);
    /* A request in the pull form outlives its session: it is cancelled and still has its end. */
    GIVES(PALISADE_OK, palisade_session_start(session, &request, &running));
    GIVES(PALISADE_OK, palisade_session_free(&session));
    do {
        GIVES(PALISADE_OK, palisade_request_next(running, &event));
        if (event && event->kind == PALISADE_EVENT_END) {
            ends++;
            CHECK(event->end->reason == PALISADE_END_CANCELLED);
        }
    } while (event);
    CHECK(ends == 1);
    GIVES(PALISADE_OK, palisade_request_free(&running));
    return 0;
}

/* C10 */
static int reentrant(seen_t *seen) {
    palisade_session_t *session = seen->session;
    palisade_request_options_t request = question(QUESTION, 1);
    palisade_request_t *running = POISON;
    palisade_engine_info_t info;
    palisade_license_t license;
    char buf[1];
    size_t needed = 0;
    GIVES(PALISADE_REENTRANT, palisade_session_ask(session, &request, on_event, seen));
    GIVES(PALISADE_REENTRANT, palisade_session_start(session, &request, &running));
    GIVES(PALISADE_REENTRANT, palisade_session_reset(session));
    GIVES(PALISADE_OK, palisade_tokens_count(session, palisade_str("two words"), &needed));
    GIVES(PALISADE_OK, palisade_engine_info(engine, &info, sizeof info));
    GIVES(PALISADE_OK, palisade_license_status(engine, &license, sizeof license));
    GIVES(PALISADE_BUFFER, palisade_license_text(engine, buf, 1, &needed));
    GIVES(PALISADE_OK, palisade_log_set(NULL, NULL, PALISADE_LOG_WARN));
    GIVES(PALISADE_BUSY, palisade_session_free(&session)); /* and it was asked to stop */
    GIVES(PALISADE_OK, palisade_session_cancel(session));
    CHECK(session == seen->session && running == POISON);
    return 0;
}

static int32_t on_event_calls_back(const palisade_event_t *event, void *user) {
    seen_t *seen = user;
    if (event->kind == PALISADE_EVENT_STARTED) seen->answer = reentrant(seen);
    seen->answer = on_event(event, user) | seen->answer;
    return event->kind == PALISADE_EVENT_END ? 0 : seen->answer;
}

int calls_from_inside_a_callback(void) {
    palisade_session_t *session = new_session();
    const palisade_request_options_t request = question(QUESTION, 64);
    seen_t seen = {0};
    seen.session = session;
    GIVES(PALISADE_OK, palisade_session_ask(session, &request, on_event_calls_back, &seen));
    CHECK(seen.started == 1 && seen.answer == 0);
    CHECK(seen.ends == 1 && seen.reason == PALISADE_END_CANCELLED);
    GIVES(PALISADE_OK, palisade_session_free(&session));
    return 0;
}

/* C11, C12 */
int cancel_from_another_thread(void) {
    palisade_session_t *session = new_session();
    double worst = 0.0;
    int round, cancelled = 0;
    seen_t seen = {0};
    for (round = 0; round < 30; round++) {
        asking_t call = {0};
        double start;
        GIVES(PALISADE_OK, palisade_session_reset(session));
        begin(&call, session, 256);
        nap(round * 7 % 40);
        start = now();
        GIVES(PALISADE_OK, palisade_session_cancel(session));
        GIVES(PALISADE_OK, palisade_session_cancel(session));
        pthread_join(call.thread, NULL);
        if (call.seen.reason == PALISADE_END_CANCELLED) {
            cancelled++;
            if (now() - start > worst) worst = now() - start;
        }
        CHECK(call.status == PALISADE_OK && call.seen.ends == 1 && call.seen.after_end == 0);
    }
    fprintf(stderr, "cancelled %d of 30, the slowest after %.0f ms\n", cancelled, worst * 1e3);
    CHECK(cancelled > 0 && worst < 5.0);
    GIVES(PALISADE_OK, palisade_session_reset(session));
    GIVES(PALISADE_OK, palisade_session_cancel(session));
    GIVES(PALISADE_OK, ask(session, &seen, 4));
    CHECK(seen.ends == 1 && seen.reason != PALISADE_END_CANCELLED);
    GIVES(PALISADE_OK, palisade_session_cancel(session));
    GIVES(PALISADE_OK, palisade_session_free(&session));
    return 0;
}

/* C17 */
int a_stuck_callback_is_its_own_affair(void) {
    palisade_session_t *stuck = new_session(), *other = new_session();
    palisade_engine_info_t info;
    asking_t call = {0};
    seen_t seen = {0};
    volatile int gate = 0;
    call.seen.gate = &gate;
    begin(&call, stuck, 8);
    while (gate == 0) nap(1);
    GIVES(PALISADE_OK, ask(other, &seen, 4));
    CHECK(seen.ends == 1 && seen.texts > 0);
    GIVES(PALISADE_OK, palisade_engine_info(engine, &info, sizeof info));
    GIVES(PALISADE_OK, palisade_session_free(&other));
    GIVES(PALISADE_OK, palisade_session_cancel(stuck));
    gate = 2;
    pthread_join(call.thread, NULL);
    CHECK(call.seen.reason == PALISADE_END_CANCELLED);
    GIVES(PALISADE_OK, palisade_session_free(&stuck));
    return 0;
}

/* C19 */
int what_a_callback_may_return(void) {
    const int32_t odd[] = {2, -1, INT_MIN, INT_MAX};
    palisade_session_t *session = new_session();
    size_t i;
    for (i = 0; i < sizeof odd / sizeof *odd; i++) {
        seen_t seen = {0};
        seen.answer = odd[i];
        GIVES(PALISADE_CALLBACK, ask(session, &seen, 64));
        CHECK(seen.ends == 1 && seen.reason == PALISADE_END_CANCELLED && seen.after_end == 0);
    }
    {
        seen_t seen = {0};
        seen.answer = 1;
        GIVES(PALISADE_OK, ask(session, &seen, 64));
        CHECK(seen.ends == 1 && seen.reason == PALISADE_END_CANCELLED && seen.texts <= 1);
    }
    GIVES(PALISADE_OK, palisade_session_free(&session));
    return 0;
}

/* C20 */
static int32_t wants_one(const palisade_event_t *event, void *user) {
    (void)event;
    return user == (void *)(intptr_t)1 ? 0 : 7;
}

int user_data_is_passed_through(void) {
    palisade_session_t *session = new_session();
    const palisade_request_options_t request = question(QUESTION, 2);
    GIVES(PALISADE_OK, palisade_session_ask(session, &request, wants_one, (void *)(intptr_t)1));
    GIVES(PALISADE_CALLBACK, palisade_session_ask(session, &request, wants_one, NULL));
    GIVES(PALISADE_OK, palisade_session_free(&session));
    return 0;
}

/* The contract of the C ABI, case by case, on a real engine.
 *
 *     contract MODEL FOLDER CASE...
 *
 * Each case says what it found wrong and the program then ends with 1. FOLDER is for receipts and logs. */
#include <palisade.h>

#include <errno.h>
#include <fcntl.h>
#include <fenv.h>
#include <limits.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                            \
            return 1;                                                                                                  \
        }                                                                                                              \
    } while (0)

#define GIVES(code, call)                                                                                              \
    do {                                                                                                               \
        const palisade_status_t got = (call);                                                                          \
        if (got != (code)) {                                                                                           \
            fprintf(stderr, "%s:%d: %s gave %s, not %s: %s\n", __FILE__, __LINE__, #call, palisade_status_name(got),  \
                    palisade_status_name(code), last_error());                                                         \
            return 1;                                                                                                  \
        }                                                                                                              \
    } while (0)

#define POISON ((void *)(intptr_t)0x5A5A5A50)

static const char *model, *folder;
static palisade_engine_t *engine; /* shared by the cases, its licence accepted */

static const char *last_error(void) {
    static char message[1024];
    size_t needed;
    return palisade_last_error(message, sizeof message, &needed) == PALISADE_OK ? message : "?";
}

static void nap(long milliseconds) {
    struct timespec left;
    left.tv_sec = milliseconds / 1000;
    left.tv_nsec = milliseconds % 1000 * 1000000;
    while (nanosleep(&left, &left) != 0) {}
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* What a callback saw, and what it is to do. */
typedef struct {
    palisade_session_t *session;
    char text[8192];
    size_t len;
    int started, texts, ends, after_end;
    int32_t reason;
    palisade_status_t status;
    int32_t answer;      /* what to return at every event but the end */
    long nap_ms;         /* sleep that long at the first event */
    volatile int *gate;  /* say that the first event came (1), then wait for 2 */
} seen_t;

static int32_t on_event(const palisade_event_t *event, void *user) {
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

static palisade_request_options_t question(const char *text, uint32_t max_tokens) {
    palisade_request_options_t request;
    if (palisade_request_options_init(&request, sizeof request) != PALISADE_OK) abort();
    request.text = palisade_str(text);
    request.max_tokens = max_tokens;
    request.temperature = 0.0f;
    return request;
}

static palisade_engine_options_t engine_options(void) {
    palisade_engine_options_t options;
    if (palisade_engine_options_init(&options, sizeof options) != PALISADE_OK) abort();
    options.model = palisade_str(model);
    options.state_dir = palisade_str(folder);
    options.context = 512;
    return options;
}

static palisade_session_t *new_session(void) {
    palisade_session_options_t options;
    palisade_session_t *session = NULL;
    if (palisade_session_options_init(&options, sizeof options) != PALISADE_OK) abort();
    if (palisade_session_open(engine, &options, &session) != PALISADE_OK) {
        fprintf(stderr, "no session: %s\n", last_error());
        abort();
    }
    return session;
}

static const char *const QUESTION = "When are you open on Sunday?";

static palisade_status_t ask(palisade_session_t *session, seen_t *seen, uint32_t max_tokens) {
    const palisade_request_options_t request = question(QUESTION, max_tokens);
    return palisade_session_ask(session, &request, on_event, seen);
}

/* ask() on a thread of its own. */
typedef struct {
    pthread_t thread;
    palisade_session_t *session;
    seen_t seen;
    uint32_t max_tokens;
    palisade_status_t status;
} asking_t;

static void *asking(void *user) {
    asking_t *call = user;
    call->status = ask(call->session, &call->seen, call->max_tokens);
    return NULL;
}

static void begin(asking_t *call, palisade_session_t *session, uint32_t max_tokens) {
    call->session = session;
    call->max_tokens = max_tokens;
    if (pthread_create(&call->thread, NULL, asking, call) != 0) abort();
}

/* C02 */
static int free_of_null(void) {
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
static int every_session_call_gives(palisade_session_t *handle, palisade_status_t code) {
    const palisade_request_options_t request = question(QUESTION, 1);
    palisade_request_t *running = POISON;
    palisade_session_t *copy = handle;
    size_t count = 77;
    seen_t seen = {0};
    GIVES(code, palisade_session_ask(handle, &request, on_event, &seen));
    GIVES(code, palisade_session_start(handle, &request, &running));
    GIVES(code, palisade_session_cancel(handle));
    GIVES(code, palisade_session_reset(handle));
    GIVES(code, palisade_tokens_count(handle, palisade_str("a"), &count));
    if (code == PALISADE_FORKED) return 0; /* freeing is allowed there */
    GIVES(code, palisade_session_free(&copy));
    CHECK(copy == handle && running == POISON && count == 77 && seen.ends == 0);
    return 0;
}

static int every_engine_call_gives(palisade_engine_t *handle, palisade_status_t code) {
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
static int freed_handles_stay_freed(void) {
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
static int foreign_handles_are_refused(void) {
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

/* C06 */
static int two_threads_on_one_session(void) {
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
        CHECK(now() - start < 0.5 && seen.ends == 0 && running == POISON);
        gate = 2;
        pthread_join(call.thread, NULL);
        CHECK(call.status == PALISADE_OK && call.seen.started == 1 && call.seen.ends == 1);
    }
    GIVES(PALISADE_OK, palisade_session_free(&session));
    return 0;
}

/* C07 */
static int two_sessions_on_two_threads(void) {
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
static int free_of_a_busy_session(void) {
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
static int sessions_outlive_their_engine(void) {
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

static int calls_from_inside_a_callback(void) {
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
static int cancel_from_another_thread(void) {
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
static int a_stuck_callback_is_its_own_affair(void) {
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
static int what_a_callback_may_return(void) {
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

static int user_data_is_passed_through(void) {
    palisade_session_t *session = new_session();
    const palisade_request_options_t request = question(QUESTION, 2);
    GIVES(PALISADE_OK, palisade_session_ask(session, &request, wants_one, (void *)(intptr_t)1));
    GIVES(PALISADE_CALLBACK, palisade_session_ask(session, &request, wants_one, NULL));
    GIVES(PALISADE_OK, palisade_session_free(&session));
    return 0;
}

/* C21 */
typedef struct {
    int calls;
    int32_t answer;
    pthread_t thread;
    int elsewhere;
    uint64_t done;
} loading_t;

static int32_t on_progress(const palisade_progress_t *progress, void *user) {
    loading_t *loading = user;
    loading->calls++;
    loading->elsewhere |= !pthread_equal(loading->thread, pthread_self());
    loading->done = progress->done;
    return progress->done <= progress->total ? loading->answer : 9;
}

static int cancel_while_loading(void) {
    const int32_t answers[] = {0, 1, 7};
    const palisade_status_t codes[] = {PALISADE_OK, PALISADE_CANCELLED, PALISADE_CALLBACK};
    int i;
    for (i = 0; i < 3; i++) {
        palisade_engine_options_t options = engine_options();
        palisade_engine_t *opened = POISON;
        loading_t loading = {0};
        loading.answer = answers[i];
        loading.thread = pthread_self();
        options.on_progress = on_progress;
        options.user = &loading;
        GIVES(codes[i], palisade_engine_open(&options, &opened));
        CHECK(loading.calls > 0 && !loading.elsewhere);
        CHECK(i == 0 || opened == POISON);
        if (i == 0) GIVES(PALISADE_OK, palisade_engine_free(&opened));
    }
    return 0;
}

/* C22 */
static int in_the_child(palisade_session_t *session, palisade_request_t *running) {
    palisade_engine_options_t options = engine_options();
    palisade_engine_t *own = NULL;
    const palisade_event_t *event = POISON;
    seen_t seen = {0};
    if (every_engine_call_gives(engine, PALISADE_FORKED)) return 1;
    if (every_session_call_gives(session, PALISADE_FORKED)) return 1;
    GIVES(PALISADE_FORKED, palisade_request_next(running, &event));
    CHECK(event == POISON);
    GIVES(PALISADE_OK, palisade_request_free(&running));
    GIVES(PALISADE_OK, palisade_session_free(&session));
    GIVES(PALISADE_OK, palisade_engine_free(&engine));
    CHECK(running == NULL && session == NULL && engine == NULL);
    GIVES(PALISADE_OK, palisade_engine_open(&options, &own));
    engine = own;
    session = new_session();
    GIVES(PALISADE_OK, ask(session, &seen, 4));
    CHECK(seen.ends == 1 && seen.texts > 0);
    return 0;
}

static int a_forked_child_uses_no_handle_of_its_parent(void) {
    palisade_session_t *session = new_session(), *second = new_session();
    const palisade_request_options_t request = question(QUESTION, 4);
    palisade_request_t *running = NULL;
    seen_t seen = {0};
    int result = -1;
    pid_t child;
    GIVES(PALISADE_OK, palisade_session_start(second, &request, &running));
    child = fork();
    if (child == 0) _exit(in_the_child(session, running));
    CHECK(child > 0);
    GIVES(PALISADE_OK, ask(session, &seen, 4));
    CHECK(seen.ends == 1);
    CHECK(waitpid(child, &result, 0) == child && WIFEXITED(result) && WEXITSTATUS(result) == 0);
    GIVES(PALISADE_OK, palisade_request_free(&running));
    GIVES(PALISADE_OK, palisade_session_free(&second));
    GIVES(PALISADE_OK, palisade_session_free(&session));
    return 0;
}

/* C23 */
static int descriptors_close_on_exec(void) {
    palisade_engine_options_t options = engine_options();
    palisade_engine_t *logged = NULL;
    char path[4096];
    int fd, before[256], open_now = 0;
    for (fd = 0; fd < 256; fd++) before[fd] = fcntl(fd, F_GETFD);
    snprintf(path, sizeof path, "%s/exec-audit.log", folder);
    options.audit = palisade_str(path);
    GIVES(PALISADE_OK, palisade_engine_open(&options, &logged));
    for (fd = 0; fd < 256; fd++) {
        const int flags = fcntl(fd, F_GETFD);
        if (flags == -1 || before[fd] != -1) continue;
        open_now++;
        CHECK(flags & FD_CLOEXEC);
    }
    CHECK(open_now >= 1); /* the log at least */
    GIVES(PALISADE_OK, palisade_engine_free(&logged));
    return 0;
}

/* C24 */
static volatile sig_atomic_t alarms;
static void on_alarm(int number) {
    (void)number;
    alarms = alarms + 1;
}

static int signals_are_the_hosts(void) {
    struct sigaction before[32], after;
    struct sigaction action;
    struct itimerval every = {{0, 1000}, {0, 1000}}, never = {{0, 0}, {0, 0}};
    sigset_t mask_before, mask_after;
    palisade_engine_options_t options = engine_options();
    palisade_engine_t *own = NULL;
    palisade_session_t *session;
    palisade_session_options_t dialog;
    seen_t seen = {0};
    int number;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_alarm; /* no SA_RESTART: every call that can be interrupted is */
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    for (number = 1; number < 32; number++) sigaction(number, NULL, &before[number]);
    pthread_sigmask(SIG_SETMASK, NULL, &mask_before);
    CHECK(setitimer(ITIMER_REAL, &every, NULL) == 0);
    GIVES(PALISADE_OK, palisade_engine_open(&options, &own));
    GIVES(PALISADE_OK, palisade_session_options_init(&dialog, sizeof dialog));
    GIVES(PALISADE_OK, palisade_session_open(own, &dialog, &session));
    GIVES(PALISADE_OK, ask(session, &seen, 16));
    CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
    CHECK(alarms > 10 && seen.ends == 1);
    GIVES(PALISADE_OK, palisade_session_free(&session));
    GIVES(PALISADE_OK, palisade_engine_free(&own));
    for (number = 1; number < 32; number++) {
        sigaction(number, NULL, &after);
        CHECK(before[number].sa_handler == after.sa_handler);
    }
    pthread_sigmask(SIG_SETMASK, NULL, &mask_after);
    for (number = 1; number < 32; number++) {
        CHECK(sigismember(&mask_before, number) == sigismember(&mask_after, number));
    }
    return 0;
}

/* C25 */
static int rounding_and_locale_do_not_matter(void) {
    palisade_session_t *session = new_session();
    seen_t plain = {0}, odd = {0};
    const int rounding = fegetround();
    GIVES(PALISADE_OK, ask(session, &plain, 24));
    GIVES(PALISADE_OK, palisade_session_reset(session));
    setlocale(LC_ALL, "de_DE.UTF-8"); /* where it is installed */
    CHECK(fesetround(FE_UPWARD) == 0);
    GIVES(PALISADE_OK, ask(session, &odd, 24));
    CHECK(fegetround() == FE_UPWARD);
    fesetround(rounding);
    setlocale(LC_ALL, "C");
    CHECK(plain.len == odd.len && memcmp(plain.text, odd.text, odd.len) == 0);
    GIVES(PALISADE_OK, palisade_session_free(&session));
    return 0;
}

/* C26 to C30 */
static int texts_are_weighed(void) {
    static const char *const bad[] = {"\x80",         "\xbf",         "\xc0\xbc",         "\xc1\xbf",
                                      "\xe0\x80\xbc", "\xf0\x80\x80\xbc", "\xed\xa0\x80", "\xed\xbf\xbf",
                                      "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\xfe", "\xe2\x82"};
    const size_t lengths[] = {SIZE_MAX, (size_t)PTRDIFF_MAX + 1, (size_t)1 << 31, ((size_t)1 << 31) * 2 + 1};
    palisade_session_t *session = new_session();
    palisade_session_options_t dialog;
    palisade_session_t *none = POISON;
    palisade_request_options_t request = question("x", 4);
    palisade_str_t view;
    char long_text[6000];
    size_t count = 0, words, i;
    seen_t seen = {0};
    void *forbidden = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(forbidden != MAP_FAILED);

    for (i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[16] = "ok ";
        strcat(text, bad[i]);
        request.text = palisade_str(text);
        GIVES(PALISADE_UTF8, palisade_session_ask(session, &request, on_event, &seen));
        CHECK(strstr(last_error(), "byte 3") != NULL);
        GIVES(PALISADE_UTF8, palisade_tokens_count(session, request.text, &count));
        GIVES(PALISADE_OK, palisade_session_options_init(&dialog, sizeof dialog));
        dialog.system = request.text;
        GIVES(PALISADE_UTF8, palisade_session_open(engine, &dialog, &none));
    }
    view.data = "a\0b";
    view.len = 3;
    GIVES(PALISADE_OK, palisade_tokens_count(session, view, &words));
    GIVES(PALISADE_OK, palisade_tokens_count(session, palisade_str("a"), &count));
    CHECK(words > count);

    view.data = (const char *)(intptr_t)1;
    view.len = 0;
    GIVES(PALISADE_OK, palisade_tokens_count(session, view, &count));
    CHECK(count == 0);

    view.data = forbidden;
    for (i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        view.len = lengths[i];
        GIVES(PALISADE_LIMIT, palisade_tokens_count(session, view, &count));
        request.text = view;
        GIVES(PALISADE_LIMIT, palisade_session_ask(session, &request, on_event, &seen));
    }
    CHECK(none == POISON && seen.ends == 0);

    long_text[0] = '\0';
    for (i = 0; i < 900; i++) strcat(long_text, "open? ");
    request.text = palisade_str(long_text);
    GIVES(PALISADE_LIMIT, palisade_session_ask(session, &request, on_event, &seen));
    CHECK(seen.started == 0 && seen.texts == 0 && seen.ends == 1);
    CHECK(seen.reason == PALISADE_END_ERROR && seen.status == PALISADE_LIMIT && strstr(last_error(), "512") != NULL);
    memset(&seen, 0, sizeof seen);
    GIVES(PALISADE_OK, ask(session, &seen, 4)); /* and the session goes on */
    munmap(forbidden, 4096);
    GIVES(PALISADE_OK, palisade_session_free(&session));
    return 0;
}

/* C31 to C34, C41 for one sort of struct: what a call that reads it says of each size. */
typedef palisade_status_t (*reader_t)(const void *options);

static palisade_status_t read_engine(const void *options) {
    palisade_engine_t *opened = POISON;
    return palisade_engine_open(options, &opened);
}
static palisade_status_t read_session(const void *options) {
    palisade_session_t *opened = POISON;
    const palisade_status_t status = palisade_session_open(engine, options, &opened);
    if (status == PALISADE_OK) palisade_session_free(&opened);
    return status;
}
static palisade_session_t *a_session;
static palisade_status_t read_request(const void *options) {
    palisade_request_t *started = POISON;
    const palisade_status_t status = palisade_session_start(a_session, options, &started);
    if (status == PALISADE_OK) palisade_request_free(&started);
    return status;
}
static palisade_status_t read_acceptance(const void *options) { return palisade_license_accept(engine, options); }

static int sizes_of(const void *options, size_t size, reader_t reader, palisade_status_t whole) {
    union {
        uint64_t align;
        unsigned char bytes[1024];
    } room;
    uint32_t claimed;
    size_t extra;
    memset(&room, 0, sizeof room);
    memcpy(room.bytes, options, size);
    GIVES(whole, reader(room.bytes));
    for (claimed = 0; claimed < 8; claimed++) {
        memcpy(room.bytes, &claimed, sizeof claimed);
        GIVES(PALISADE_ARG, reader(room.bytes));
    }
    claimed = (uint32_t)size - 1;
    memcpy(room.bytes, &claimed, sizeof claimed);
    GIVES(PALISADE_ARG, reader(room.bytes));
    claimed = UINT32_MAX;
    memcpy(room.bytes, &claimed, sizeof claimed);
    GIVES(PALISADE_ARG, reader(room.bytes));
    claimed = (uint32_t)size + 8;
    memcpy(room.bytes, &claimed, sizeof claimed);
    GIVES(whole, reader(room.bytes));
    for (extra = 0; extra < 8; extra++) {
        room.bytes[size + extra] = 1;
        GIVES(PALISADE_UNSUPPORTED, reader(room.bytes));
        room.bytes[size + extra] = 0;
    }
    memmove(room.bytes + 1, options, size);
    GIVES(PALISADE_ARG, reader(room.bytes + 1));
    return 0;
}

static int structs_of_other_versions(void) {
    palisade_engine_options_t with_engine = engine_options();
    palisade_session_options_t with_session;
    palisade_request_options_t with_request = question(QUESTION, 2);
    palisade_acceptance_t acceptance;
    palisade_license_t license;
    with_engine.model = palisade_str("/nowhere"); /* the whole struct is read; then there is no such file */
    GIVES(PALISADE_OK, palisade_session_options_init(&with_session, sizeof with_session));
    GIVES(PALISADE_OK, palisade_acceptance_init(&acceptance, sizeof acceptance));
    GIVES(PALISADE_OK, palisade_license_status(engine, &license, sizeof license));
    acceptance.text_sha256 = palisade_str(license.text_sha256);
    acceptance.party = palisade_str("The contract test");
    a_session = new_session();
    if (sizes_of(&with_engine, sizeof with_engine, read_engine, PALISADE_IO)) return 1;
    if (sizes_of(&with_session, sizeof with_session, read_session, PALISADE_OK)) return 1;
    if (sizes_of(&with_request, sizeof with_request, read_request, PALISADE_OK)) return 1;
    if (sizes_of(&acceptance, sizeof acceptance, read_acceptance, PALISADE_OK)) return 1;

    /* A program of a shorter past: its struct ends with the text, the rest takes its defaults. */
    with_request.struct_size = (uint32_t)offsetof(palisade_request_options_t, stop);
    with_request.temperature = -1.0f;
    GIVES(PALISADE_OK, read_request(&with_request));

    with_session.reserved = 1;
    GIVES(PALISADE_ARG, read_session(&with_session));
    acceptance.reserved = 1;
    GIVES(PALISADE_ARG, read_acceptance(&acceptance));
    with_engine.reserved[6] = 1;
    GIVES(PALISADE_ARG, read_engine(&with_engine));
    GIVES(PALISADE_OK, palisade_session_free(&a_session));
    return 0;
}

/* Output structs of another size, and init functions: no byte beyond the caller's struct is written. */
static int output_structs_of_other_versions(void) {
    union {
        uint64_t align;
        unsigned char bytes[1024];
    } room;
    palisade_engine_info_t *info = (palisade_engine_info_t *)(void *)room.bytes;
    palisade_request_options_t *request = (palisade_request_options_t *)(void *)room.bytes;
    const size_t shorter = offsetof(palisade_engine_info_t, model), size = sizeof(palisade_engine_info_t);
    memset(&room, 0xA5, sizeof room);
    GIVES(PALISADE_OK, palisade_engine_info(engine, info, shorter));
    CHECK(info->struct_size == shorter && info->vocabulary > 0 && room.bytes[shorter] == 0xA5);
    memset(&room, 0xA5, sizeof room);
    GIVES(PALISADE_OK, palisade_engine_info(engine, info, size + 16));
    CHECK(room.bytes[size] == 0 && room.bytes[size + 15] == 0 && room.bytes[size + 16] == 0xA5);
    memset(&room, 0xA5, sizeof room);
    GIVES(PALISADE_ARG, palisade_engine_info(engine, info, 0));
    GIVES(PALISADE_ARG, palisade_engine_info(engine, info, shorter + 1));
    CHECK(room.bytes[0] == 0xA5);
    GIVES(PALISADE_OK, palisade_request_options_init(request, offsetof(palisade_request_options_t, stop)));
    CHECK(room.bytes[offsetof(palisade_request_options_t, stop)] == 0xA5);
    return 0;
}

/* C35, C36 */
static int values_out_of_range(void) {
    const float wrong[] = {NAN, INFINITY, -INFINITY, -1.0f};
    const int32_t levels[] = {-1, 0, 4, 255, INT32_MAX, INT32_MIN};
    palisade_engine_options_t options = engine_options();
    size_t i;
    a_session = new_session();
    for (i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        palisade_request_options_t request = question(QUESTION, 2);
        request.temperature = wrong[i];
        GIVES(PALISADE_ARG, read_request(&request));
        request = question(QUESTION, 2);
        request.top_p = wrong[i];
        GIVES(PALISADE_ARG, read_request(&request));
        request = question(QUESTION, 2);
        request.min_p = wrong[i];
        GIVES(PALISADE_ARG, read_request(&request));
        request = question(QUESTION, 2);
        request.repetition_penalty = wrong[i];
        GIVES(PALISADE_ARG, read_request(&request));
    }
    for (i = 0; i < sizeof levels / sizeof *levels; i++) GIVES(PALISADE_ARG, palisade_log_set(NULL, NULL, levels[i]));
    options.map_weights = 2;
    GIVES(PALISADE_ARG, read_engine(&options));
    GIVES(PALISADE_OK, palisade_session_free(&a_session));
    return 0;
}

/* C37, C49 */
static int small_buffers_and_the_last_error(void) {
    char buf[64], whole[1024];
    size_t needed = 0, size, cap;
    GIVES(PALISADE_ARG, palisade_session_cancel(NULL));
    CHECK(strcmp(last_error(), "session is NULL") == 0);
    GIVES(PALISADE_OK, palisade_log_set(NULL, NULL, PALISADE_LOG_INFO));
    CHECK(strcmp(last_error(), "session is NULL") == 0);
    for (cap = 0; cap < 16; cap++) {
        memset(buf, 0xA5, sizeof buf);
        GIVES(PALISADE_BUFFER, palisade_last_error(buf, cap, &needed));
        CHECK(needed == 16 && (unsigned char)buf[0] == 0xA5);
    }
    GIVES(PALISADE_OK, palisade_last_error(buf, 16, &needed));
    GIVES(PALISADE_BUFFER, palisade_last_error(NULL, 0, &needed));
    GIVES(PALISADE_ARG, palisade_last_error(NULL, 8, &needed));
    GIVES(PALISADE_ARG, palisade_last_error(buf, sizeof buf, NULL));
    CHECK(strcmp(last_error(), "session is NULL") == 0);

    GIVES(PALISADE_BUFFER, palisade_license_text(engine, NULL, 0, &size));
    {
        char *text = malloc(size);
        CHECK(text != NULL && size > 1);
        GIVES(PALISADE_BUFFER, palisade_license_text(engine, text, size - 1, &needed));
        GIVES(PALISADE_OK, palisade_license_text(engine, text, size, &needed));
        CHECK(needed == size && strlen(text) == size - 1);
        free(text);
    }
    GIVES(PALISADE_OK, palisade_license_notices(engine, whole, sizeof whole, &needed));
    return 0;
}

/* C42 */
static void *small_life(void *user) {
    palisade_engine_options_t options = engine_options();
    palisade_session_options_t dialog;
    palisade_session_t *session = NULL;
    palisade_engine_t *own = NULL;
    size_t count;
    seen_t *seen = user;
    if (palisade_session_options_init(&dialog, sizeof dialog) != PALISADE_OK) return NULL;
    if (palisade_engine_open(&options, &own) != PALISADE_OK) return NULL;
    if (palisade_session_open(own, &dialog, &session) != PALISADE_OK) return NULL;
    if (palisade_tokens_count(session, palisade_str(QUESTION), &count) != PALISADE_OK) return NULL;
    seen->status = ask(session, seen, 8);
    palisade_session_free(&session);
    palisade_engine_free(&own);
    return NULL;
}

static int a_thread_of_64_kib_is_enough(void) {
    static seen_t seen;
    pthread_attr_t attributes;
    pthread_t thread;
    CHECK(pthread_attr_init(&attributes) == 0 && pthread_attr_setstacksize(&attributes, 64 << 10) == 0);
    CHECK(pthread_create(&thread, &attributes, small_life, &seen) == 0);
    pthread_join(thread, NULL);
    CHECK(seen.ends == 1 && seen.status == PALISADE_OK && seen.texts > 0);
    return 0;
}

/* C43 */
static long resident_pages(void) {
    long whole = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL) return 0;
    if (fscanf(file, "%ld %ld", &whole, &resident) != 2) resident = 0;
    fclose(file);
    return resident;
}

static void *fails_once(void *user) {
    char message[64];
    size_t needed;
    (void)user;
    if (palisade_session_cancel(NULL) != PALISADE_ARG) return POISON;
    if (palisade_last_error(message, sizeof message, &needed) != PALISADE_OK) return POISON;
    return strcmp(message, "session is NULL") == 0 ? NULL : POISON;
}

static int short_threads_leave_nothing(void) {
    long before = 0;
    int i;
    for (i = 0; i < 4000; i++) {
        pthread_t thread;
        void *result = POISON;
        CHECK(pthread_create(&thread, NULL, fails_once, NULL) == 0);
        pthread_join(thread, &result);
        CHECK(result == NULL);
        if (i == 1000) before = resident_pages();
    }
    CHECK(resident_pages() - before < 256); /* 3,000 threads, less than 1 MiB */
    return 0;
}

/* C45 */
static int32_t on_event_exits(const palisade_event_t *event, void *user) {
    (void)user;
    if (event->kind == PALISADE_EVENT_TEXT) exit(0);
    return 0;
}

static int exit_inside_a_callback(void) {
    palisade_session_t *session = new_session();
    const palisade_request_options_t request = question(QUESTION, 64);
    GIVES(PALISADE_OK, palisade_session_ask(session, &request, on_event_exits, NULL));
    CHECK(!"the process went on");
    return 0;
}

static int exit_while_generating(void) {
    static asking_t call;
    static volatile int gate;
    call.seen.gate = &gate;
    begin(&call, new_session(), 256);
    while (gate == 0) nap(1);
    gate = 2;
    nap(30);
    exit(0);
}

/* C48 */
static int without_a_licence_nothing_is_computed(void) {
    palisade_engine_options_t options = engine_options();
    palisade_engine_t *kept = engine, *fresh = NULL;
    palisade_acceptance_t acceptance;
    palisade_license_t license;
    palisade_session_t *session;
    palisade_request_t *running = POISON;
    const palisade_request_options_t request = question(QUESTION, 4);
    seen_t seen = {0};
    options.state_dir = palisade_str(NULL); /* in memory: nothing is accepted yet */
    GIVES(PALISADE_OK, palisade_engine_open(&options, &fresh));
    engine = fresh;
    session = new_session();
    GIVES(PALISADE_OK, palisade_license_status(fresh, &license, sizeof license));
    CHECK(license.accepted == 0 && strlen(license.text_sha256) == 64 && license.id[0] != '\0');
    GIVES(PALISADE_LICENSE, ask(session, &seen, 4));
    GIVES(PALISADE_LICENSE, palisade_session_start(session, &request, &running));
    CHECK(strstr(last_error(), license.text_sha256) != NULL);
    CHECK(seen.ends == 0 && running == POISON);

    GIVES(PALISADE_OK, palisade_acceptance_init(&acceptance, sizeof acceptance));
    acceptance.party = palisade_str("The contract test");
    acceptance.text_sha256 = palisade_str("0000000000000000000000000000000000000000000000000000000000000000");
    GIVES(PALISADE_LICENSE, palisade_license_accept(fresh, &acceptance));
    acceptance.text_sha256 = palisade_str(license.text_sha256);
    acceptance.party = palisade_str("");
    GIVES(PALISADE_ARG, palisade_license_accept(fresh, &acceptance));
    GIVES(PALISADE_LICENSE, ask(session, &seen, 4));
    acceptance.party = palisade_str("The contract test");
    acceptance.time_unix = 1700000000;
    GIVES(PALISADE_OK, palisade_license_accept(fresh, &acceptance));
    GIVES(PALISADE_OK, palisade_license_status(fresh, &license, sizeof license));
    CHECK(license.accepted == 1 && license.accepted_unix == 1700000000);
    CHECK(strcmp(license.party, "The contract test") == 0);
    GIVES(PALISADE_OK, ask(session, &seen, 4));
    CHECK(seen.ends == 1 && seen.texts > 0);
    GIVES(PALISADE_OK, palisade_session_free(&session));
    engine = kept;
    GIVES(PALISADE_OK, palisade_engine_free(&fresh));
    return 0;
}

/* The pull form gives what the push form gives. */
static int both_forms_give_the_same(void) {
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

/* The log: what is given to it, and that it may call the library. */
static void on_log(int32_t level, palisade_str_t message, void *user) {
    int *lines = user;
    palisade_engine_info_t info;
    if (level > PALISADE_LOG_INFO || message.len == 0) *lines = -1000;
    if (palisade_engine_info(engine, &info, sizeof info) != PALISADE_OK) *lines = -1000;
    ++*lines;
}

static int the_log_goes_to_the_host(void) {
    palisade_engine_options_t options = engine_options();
    palisade_engine_t *own = NULL;
    int lines = 0, before;
    GIVES(PALISADE_OK, palisade_log_set(on_log, &lines, PALISADE_LOG_INFO));
    GIVES(PALISADE_OK, palisade_engine_open(&options, &own));
    CHECK(lines > 0);
    GIVES(PALISADE_OK, palisade_engine_free(&own));
    GIVES(PALISADE_OK, palisade_log_set(NULL, NULL, PALISADE_LOG_INFO));
    before = lines;
    GIVES(PALISADE_OK, palisade_engine_open(&options, &own));
    CHECK(lines == before);
    GIVES(PALISADE_OK, palisade_engine_free(&own));
    return 0;
}

typedef struct {
    const char *name;
    int (*run)(void);
} case_t;

#define CASE(function) {#function, function}
static const case_t CASES[] = {
    CASE(free_of_null),
    CASE(freed_handles_stay_freed),
    CASE(foreign_handles_are_refused),
    CASE(two_threads_on_one_session),
    CASE(two_sessions_on_two_threads),
    CASE(free_of_a_busy_session),
    CASE(sessions_outlive_their_engine),
    CASE(calls_from_inside_a_callback),
    CASE(cancel_from_another_thread),
    CASE(a_stuck_callback_is_its_own_affair),
    CASE(what_a_callback_may_return),
    CASE(user_data_is_passed_through),
    CASE(cancel_while_loading),
    CASE(a_forked_child_uses_no_handle_of_its_parent),
    CASE(descriptors_close_on_exec),
    CASE(signals_are_the_hosts),
    CASE(rounding_and_locale_do_not_matter),
    CASE(texts_are_weighed),
    CASE(structs_of_other_versions),
    CASE(output_structs_of_other_versions),
    CASE(values_out_of_range),
    CASE(small_buffers_and_the_last_error),
    CASE(a_thread_of_64_kib_is_enough),
    CASE(short_threads_leave_nothing),
    CASE(exit_inside_a_callback),
    CASE(exit_while_generating),
    CASE(without_a_licence_nothing_is_computed),
    CASE(both_forms_give_the_same),
    CASE(the_log_goes_to_the_host),
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
        for (c = 0; c < sizeof CASES / sizeof *CASES; c++) {
            double start = now();
            if (strcmp(CASES[c].name, argv[i]) != 0) continue;
            if (CASES[c].run()) {
                fprintf(stderr, "FAILED %s\n", argv[i]);
                return 1;
            }
            fprintf(stderr, "ok %s (%.2f s)\n", argv[i], now() - start);
            break;
        }
        if (c == sizeof CASES / sizeof *CASES) return 2;
    }
    return palisade_engine_free(&engine) == PALISADE_OK ? 0 : 1;
}

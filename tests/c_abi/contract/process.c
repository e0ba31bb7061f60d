/* What belongs to the host: its process, signals, threads, floating point. */
#include "contract.h"

#include <fcntl.h>
#include <fenv.h>
#include <locale.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

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

int cancel_while_loading(void) {
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

int a_forked_child_uses_no_handle_of_its_parent(void) {
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
int descriptors_close_on_exec(void) {
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

int signals_are_the_hosts(void) {
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
int rounding_and_locale_do_not_matter(void) {
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

int a_thread_of_64_kib_is_enough(void) {
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

int short_threads_leave_nothing(void) {
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

int exit_inside_a_callback(void) {
    palisade_session_t *session = new_session();
    const palisade_request_options_t request = question(QUESTION, 64);
    GIVES(PALISADE_OK, palisade_session_ask(session, &request, on_event_exits, NULL));
    CHECK(!"the process went on");
    return 0;
}

int exit_while_generating(void) {
    static asking_t call;
    static volatile int gate;
    call.seen.gate = &gate;
    begin(&call, new_session(), 256);
    while (gate == 0) nap(1);
    gate = 2;
    nap(30);
    exit(0);
}

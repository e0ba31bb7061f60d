/* What the cases of the contract share. */
#ifndef CONTRACT_H
#define CONTRACT_H

#include <palisade.h>

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

extern const char *model, *folder;
extern palisade_engine_t *engine; /* shared by the cases, its licence accepted */
extern const char *const QUESTION;

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

/* ask() on a thread of its own. */
typedef struct {
    pthread_t thread;
    palisade_session_t *session;
    seen_t seen;
    uint32_t max_tokens;
    palisade_status_t status;
} asking_t;

const char *last_error(void);
void nap(long milliseconds);
double now(void);
int32_t on_event(const palisade_event_t *event, void *user); /* `user` is a seen_t */
palisade_request_options_t question(const char *text, uint32_t max_tokens);
palisade_engine_options_t engine_options(void);
palisade_session_t *new_session(void);
palisade_status_t ask(palisade_session_t *session, seen_t *seen, uint32_t max_tokens);
void begin(asking_t *call, palisade_session_t *session, uint32_t max_tokens);

/* Every function, on a handle that is no good, gives the same code. */
int every_session_call_gives(palisade_session_t *handle, palisade_status_t code);
int every_engine_call_gives(palisade_engine_t *handle, palisade_status_t code);

/* The cases: each returns 0 when what it says is so. */
#define CASES(X) \
    X(free_of_null) \
    X(freed_handles_stay_freed) \
    X(foreign_handles_are_refused) \
    X(two_threads_on_one_session) \
    X(two_sessions_on_two_threads) \
    X(free_of_a_busy_session) \
    X(sessions_outlive_their_engine) \
    X(calls_from_inside_a_callback) \
    X(cancel_from_another_thread) \
    X(a_stuck_callback_is_its_own_affair) \
    X(what_a_callback_may_return) \
    X(user_data_is_passed_through) \
    X(cancel_while_loading) \
    X(a_forked_child_uses_no_handle_of_its_parent) \
    X(descriptors_close_on_exec) \
    X(signals_are_the_hosts) \
    X(rounding_and_locale_do_not_matter) \
    X(texts_are_weighed) \
    X(structs_of_other_versions) \
    X(output_structs_of_other_versions) \
    X(values_out_of_range) \
    X(small_buffers_and_the_last_error) \
    X(a_thread_of_64_kib_is_enough) \
    X(short_threads_leave_nothing) \
    X(exit_inside_a_callback) \
    X(exit_while_generating) \
    X(without_a_licence_nothing_is_computed) \
    X(both_forms_give_the_same) \
    X(an_old_request_does_not_stop_a_new_one) \
    X(the_log_goes_to_the_host) \
    X(refusals_know_the_locale) \
    X(policies_are_asked_for_a_signature) \
    X(the_log_is_what_the_options_say) \
    X(a_log_that_cannot_be_signed_ends_the_request) \
    X(odd_log_options_are_refused) \
    X(one_appeal_for_a_refusal)

#define DECLARE(name) int name(void);
CASES(DECLARE)

#endif

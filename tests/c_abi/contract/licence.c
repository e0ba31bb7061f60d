/* The licence gate and the log. */
#include "contract.h"

/* C48 */
int without_a_licence_nothing_is_computed(void) {
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

/* The log: what is given to it, and that it may call the library. */
static void on_log(int32_t level, palisade_str_t message, void *user) {
    int *lines = user;
    palisade_engine_info_t info;
    if (level > PALISADE_LOG_INFO || message.len == 0) *lines = -1000;
    if (palisade_engine_info(engine, &info, sizeof info) != PALISADE_OK) *lines = -1000;
    ++*lines;
}

int the_log_goes_to_the_host(void) {
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

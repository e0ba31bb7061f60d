/* Texts, structs, numbers and buffers. */
#include "contract.h"

#include <math.h>
#include <sys/mman.h>

/* C26 to C30 */
int texts_are_weighed(void) {
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

int structs_of_other_versions(void) {
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
    /* Programs of the first header: what came after it is not read, whatever stands there. */
    with_session.locale = palisade_str("\xff");
    with_session.struct_size = (uint32_t)offsetof(palisade_session_options_t, locale);
    GIVES(PALISADE_OK, read_session(&with_session));
    with_session.struct_size = sizeof with_session;
    GIVES(PALISADE_UTF8, read_session(&with_session));
    with_session.locale = palisade_str(NULL);
    with_engine.audit_sync = 77;
    with_engine.struct_size = (uint32_t)offsetof(palisade_engine_options_t, policy_key);
    GIVES(PALISADE_IO, read_engine(&with_engine));
    with_engine.struct_size = sizeof with_engine;
    GIVES(PALISADE_ARG, read_engine(&with_engine));
    with_engine.audit_sync = PALISADE_SYNC_REQUEST;

    with_session.reserved = 1;
    GIVES(PALISADE_ARG, read_session(&with_session));
    acceptance.reserved = 1;
    GIVES(PALISADE_ARG, read_acceptance(&acceptance));
    with_engine.reserved[5] = 1;
    GIVES(PALISADE_ARG, read_engine(&with_engine));
    with_engine.reserved[5] = 0;
    with_engine.kv_type = PALISADE_KV_Q8_0 + 1;
    GIVES(PALISADE_ARG, read_engine(&with_engine));
    with_engine.kv_type = PALISADE_KV_AUTO;
    with_engine.guard_family = palisade_str("llama-guard-5");
    GIVES(PALISADE_ARG, read_engine(&with_engine));
    with_engine.guard_family = palisade_str("llama-guard-4");
    GIVES(PALISADE_IO, read_engine(&with_engine));
    GIVES(PALISADE_OK, palisade_session_free(&a_session));
    return 0;
}

/* Output structs of another size, and init functions: no byte beyond the caller's struct is written. */
int output_structs_of_other_versions(void) {
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
int values_out_of_range(void) {
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
int small_buffers_and_the_last_error(void) {
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

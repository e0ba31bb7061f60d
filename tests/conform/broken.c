/* Wrappers with one fault each, for a rule of `palisade conform` to find: the reference driver on top of a layer that does one
 * thing wrong between the application and the library.
 *
 *     broken FAULT [POLICY]
 */
#include <palisade.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *fault, *own_policy;

static int is(const char *name) { return strcmp(fault, name) == 0; }

/* What the layer holds while a request runs. */
typedef struct {
    palisade_event_fn to;
    void *user;
    char held[1 << 16];
    size_t len;
    int texts;
    int32_t reason;
    palisade_status_t status;
} layer_t;

static int32_t give_text(layer_t *layer, const char *data, size_t len) {
    palisade_event_t event;
    memset(&event, 0, sizeof event);
    event.struct_size = sizeof event;
    event.kind = PALISADE_EVENT_TEXT;
    event.text.data = data;
    event.text.len = len;
    return layer->to(&event, layer->user);
}

static void hold(layer_t *layer, palisade_str_t text) {
    if (layer->len + text.len > sizeof layer->held) return;
    memcpy(layer->held + layer->len, text.data, text.len);
    layer->len += text.len;
}

static int32_t give_held(layer_t *layer) {
    const size_t len = layer->len;
    layer->len = 0;
    return len > 0 ? give_text(layer, layer->held, len) : 0;
}

static int32_t faulty_text(layer_t *layer, const palisade_event_t *event) {
    layer->texts++;
    if (is("loses-text") && layer->texts % 2 == 0) return 0;
    if (is("text-after-end") || is("flushes-after-block")) {
        /* A buffer for the screen, one piece behind. */
        const int32_t said = is("text-after-end") ? give_held(layer) : 0;
        hold(layer, event->text);
        return said;
    }
    if (is("cuts-characters")) {
        size_t at = 0;
        while (at < event->text.len) {
            const size_t len = event->text.len - at < 7 ? event->text.len - at : 7;
            if (give_text(layer, event->text.data + at, len) != 0) return 1;
            at += len;
        }
        return 0;
    }
    return layer->to(event, layer->user);
}

static int32_t faulty_end(layer_t *layer, const palisade_event_t *event) {
    palisade_event_t shown = *event;
    palisade_end_t end = *event->end;
    char words[1024];
    int32_t said;
    shown.end = &end;
    layer->reason = end.reason;
    layer->status = end.status;
    if (is("swallows-end")) return 0;
    if (is("keeps-retracted")) end.retract_from = -1;
    if (is("failure-as-success") && end.reason == PALISADE_END_ERROR) {
        end.reason = PALISADE_END_STOP;
        end.reason_name = palisade_str("stop");
        end.status = PALISADE_OK;
    }
    if (is("shows-rule") && event->verdict != NULL) {
        snprintf(words, sizeof words, "%.*s (%.*s)", (int)event->text.len, event->text.data,
                 (int)event->verdict->rule.len, event->verdict->rule.data);
        shown.text = palisade_str(words);
    }
    if (is("flushes-after-block") && end.reason != PALISADE_END_BLOCKED_OUTPUT) give_held(layer);
    if (is("retries-without-guard") && end.status == PALISADE_GUARD_TIMEOUT) return 0; /* it tries again */
    said = layer->to(&shown, layer->user);
    give_held(layer);
    return said;
}

static int32_t between(const palisade_event_t *event, void *user) {
    layer_t *layer = user;
    int32_t said;
    if (event->kind == PALISADE_EVENT_TEXT) said = faulty_text(layer, event);
    else if (event->kind == PALISADE_EVENT_END) said = faulty_end(layer, event);
    else said = layer->to(event, layer->user);
    return is("never-cancels") ? 0 : said;
}

/* ---- the calls */

static palisade_engine_t *shared;
static char model_path[4096];

static palisade_status_t faulty_open(const palisade_engine_options_t *options, palisade_engine_t **engine) {
    palisade_engine_options_t changed = *options;
    palisade_status_t status;
    if (options->model.len < sizeof model_path) memcpy(model_path, options->model.data, options->model.len);
    if (is("own-policy")) changed.policy = palisade_str(own_policy);
    if (is("built-in-policy")) changed.policy = palisade_str("");
    if (is("drops-key")) changed.policy_key = palisade_str("");
    if (is("drops-audit")) changed.audit = palisade_str("");
    status = palisade_engine_open(&changed, engine);
    if (status != PALISADE_OK && is("opens-without-guard")) {
        changed.policy = changed.classifier = palisade_str("");
        status = palisade_engine_open(&changed, engine);
    }
    if (status == PALISADE_OK) shared = *engine;
    return status;
}

static palisade_status_t accept_silently(palisade_engine_t *engine) {
    palisade_acceptance_t acceptance;
    palisade_license_t license;
    if (palisade_license_status(engine, &license, sizeof license) != PALISADE_OK) return PALISADE_LICENSE;
    if (palisade_acceptance_init(&acceptance, sizeof acceptance) != PALISADE_OK) return PALISADE_LICENSE;
    acceptance.text_sha256 = palisade_str(license.text_sha256);
    acceptance.party = palisade_str("nobody");
    return palisade_license_accept(engine, &acceptance);
}

/* Asks in a session of its own. */
static palisade_status_t ask_afresh(palisade_engine_t *engine, const palisade_request_options_t *request,
                                    palisade_event_fn on_event, void *user) {
    palisade_session_options_t options;
    palisade_session_t *session = NULL;
    palisade_status_t status = palisade_session_options_init(&options, sizeof options);
    if (status == PALISADE_OK) status = palisade_session_open(engine, &options, &session);
    if (status == PALISADE_OK) status = palisade_session_ask(session, request, on_event, user);
    palisade_session_free(&session);
    return status;
}

/* The same question to an engine under the built-in policy. */
static palisade_status_t ask_elsewhere(const char *model, const palisade_request_options_t *request, layer_t *layer) {
    palisade_engine_options_t options;
    palisade_engine_t *other = NULL;
    palisade_status_t status = palisade_engine_options_init(&options, sizeof options);
    options.model = palisade_str(model);
    if (status == PALISADE_OK) status = palisade_engine_open(&options, &other);
    if (status == PALISADE_OK) status = accept_silently(other);
    if (status == PALISADE_OK) status = ask_afresh(other, request, layer->to, layer->user);
    palisade_engine_free(&other);
    return status;
}

static palisade_status_t faulty_ask(palisade_session_t *session, const palisade_request_options_t *request,
                                    palisade_event_fn on_event, void *user) {
    static int depth;
    layer_t *layer = calloc(1, sizeof *layer);
    palisade_status_t status;
    if (layer == NULL) return PALISADE_MEMORY;
    layer->to = on_event;
    layer->user = user;
    depth++;
    if ((is("queues-questions") && depth > 1) || is("forgets-refusals")) status = ask_afresh(shared, request, between, layer);
    else status = palisade_session_ask(session, request, between, layer);
    if (status == PALISADE_LICENSE && is("accepts-by-itself") && accept_silently(shared) == PALISADE_OK)
        status = palisade_session_ask(session, request, between, layer);
    if (layer->status == PALISADE_GUARD_TIMEOUT && is("retries-without-guard"))
        status = ask_elsewhere(model_path, request, layer);
    if (is("failure-as-success") && layer->reason == PALISADE_END_ERROR) status = PALISADE_OK;
    depth--;
    free(layer);
    return status;
}

static palisade_status_t faulty_session_open(palisade_engine_t *engine, const palisade_session_options_t *options,
                                             palisade_session_t **session) {
    palisade_session_options_t changed = *options;
    if (is("drops-locale")) changed.locale = palisade_str("");
    return palisade_session_open(engine, &changed, session);
}

static palisade_status_t faulty_session_free(palisade_session_t **session) {
    return is("keeps-sessions") ? PALISADE_OK : palisade_session_free(session);
}

static palisade_status_t faulty_appeal(palisade_session_t *session, int64_t time_unix) {
    return is("forgets-appeals") ? PALISADE_OK : palisade_session_appeal(session, time_unix);
}

#define palisade_engine_open faulty_open
#define palisade_session_open faulty_session_open
#define palisade_session_ask faulty_ask
#define palisade_session_free faulty_session_free
#define palisade_session_appeal faulty_appeal
#define main reference_main
#include "../../examples/conform/driver.c"
#undef main

int main(int argc, char **argv) {
    fault = argc > 1 ? argv[1] : "";
    own_policy = argc > 2 ? argv[2] : "";
    return reference_main(1, argv);
}

/* The program that `palisade conform` talks to, for a host that uses the C header as it is.
 *
 *     palisade conform --driver ./driver
 *     palisade conform --driver ./driver -- pull     (the same in the pull form, for languages that had rather not be called)
 *
 * To test a wrapper of your own, write the same program on top of it: read commands from standard input, do with your
 * wrapper what they say, and print what your application would show. bindings/README.md has the lines. Nothing here is
 * special to the suite but reading and printing them. */
#include <palisade.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static palisade_engine_t *engine;
static palisade_session_t *session;

/* ---- lines */

/* A command: a name and `key=value` pairs, cut in place. */
typedef struct {
    char *name;
    char *keys[16], *values[16];
    size_t lengths[16]; /* of the values: a text may hold any byte */
    int pairs;
} command_t;

/* The next line of standard input without its end; NULL when there is none. */
static char *read_line(void) {
    static char *line;
    static size_t room;
    size_t len = 0;
    int c;
    while ((c = getchar()) != EOF && c != '\n') {
        if (len + 1 >= room) {
            char *more = realloc(line, room = room * 2 + 1024);
            if (more == NULL) exit(3);
            line = more;
        }
        line[len++] = (char)c;
    }
    if (c == EOF && len == 0) return NULL;
    if (len == 0) return "";
    line[len] = '\0';
    return line;
}

static int digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Undoes %XX in place; returns the length. */
static size_t decode(char *text) {
    const char *from = text;
    char *to = text;
    while (*from != '\0') {
        if (from[0] == '%' && digit(from[1]) >= 0 && digit(from[2]) >= 0) {
            *to++ = (char)(digit(from[1]) * 16 + digit(from[2]));
            from += 3;
        } else {
            *to++ = *from++;
        }
    }
    *to = '\0';
    return (size_t)(to - text);
}

static void parse(char *line, command_t *command) {
    char *word = strtok(line, " ");
    command->name = word == NULL ? "" : word;
    command->pairs = 0;
    while (word != NULL && (word = strtok(NULL, " ")) != NULL && command->pairs < 16) {
        char *equals = strchr(word, '=');
        if (equals == NULL) continue;
        *equals = '\0';
        command->keys[command->pairs] = word;
        command->values[command->pairs] = equals + 1;
        command->lengths[command->pairs] = decode(equals + 1);
        command->pairs++;
    }
}

static palisade_str_t value(const command_t *command, const char *key) {
    palisade_str_t view = {"", 0};
    int i;
    for (i = 0; i < command->pairs; i++) {
        if (strcmp(command->keys[i], key) != 0) continue;
        view.data = command->values[i];
        view.len = command->lengths[i];
    }
    return view;
}

static long number(const command_t *command, const char *key) {
    const palisade_str_t text = value(command, key);
    return text.len == 0 ? 0 : strtol(text.data, NULL, 10);
}

static void print_encoded(palisade_str_t text) {
    size_t i;
    for (i = 0; i < text.len; i++) printf("%%%02X", (unsigned)(unsigned char)text.data[i]);
}

static void answer(palisade_status_t status) {
    char message[1024];
    size_t needed;
    if (status == PALISADE_OK) {
        puts("ok");
        return;
    }
    printf("error %ld text=", (long)status);
    if (palisade_last_error(message, sizeof message, &needed) == PALISADE_OK) print_encoded(palisade_str(message));
    putchar('\n');
}

/* ---- what the application does */

static void open_engine(const command_t *command) {
    palisade_engine_options_t options;
    palisade_status_t status;
    palisade_session_free(&session);
    palisade_engine_free(&engine);
    status = palisade_engine_options_init(&options, sizeof options);
    if (status == PALISADE_OK) {
        options.model = value(command, "model");
        options.policy = value(command, "policy");
        options.classifier = value(command, "classifier");
        options.state_dir = value(command, "state");
        options.audit = value(command, "audit");
        options.policy_key = value(command, "key");
        options.time_unix = (int64_t)time(NULL);
        status = palisade_engine_open(&options, &engine);
    }
    answer(status);
}

/* A real application shows palisade_license_text and asks; the suite is the person who says yes. */
static void accept_license(void) {
    palisade_acceptance_t acceptance;
    palisade_license_t license;
    palisade_status_t status = palisade_license_status(engine, &license, sizeof license);
    if (status == PALISADE_OK) status = palisade_acceptance_init(&acceptance, sizeof acceptance);
    if (status == PALISADE_OK) {
        acceptance.text_sha256 = palisade_str(license.text_sha256);
        acceptance.party = palisade_str("The conformance suite");
        acceptance.time_unix = (int64_t)time(NULL);
        status = palisade_license_accept(engine, &acceptance);
    }
    answer(status);
}

static void open_session(const command_t *command) {
    palisade_session_options_t options;
    palisade_status_t status = palisade_session_options_init(&options, sizeof options);
    palisade_session_free(&session);
    if (status == PALISADE_OK) {
        options.locale = value(command, "locale");
        status = palisade_session_open(engine, &options, &session);
    }
    answer(status);
}

/* ---- asking */

typedef struct {
    long events, cancel, release, again; /* so far, and at which one to do what; 0 = at none */
    int give_up;
    palisade_status_t status; /* of the end */
} asking_t;

static int pulls;

static int32_t on_nested(const palisade_event_t *event, void *user) {
    (void)event;
    (void)user;
    return 1;
}

static void ask_again(void) {
    palisade_request_options_t request;
    palisade_status_t status = palisade_request_options_init(&request, sizeof request);
    if (status == PALISADE_OK) {
        request.text = palisade_str("And another thing?");
        status = palisade_session_ask(session, &request, on_nested, NULL);
    }
    printf("nested %ld\n", (long)status);
}

static void show_end(const palisade_event_t *event) {
    const palisade_end_t *end = event->end;
    if (end->retract_from >= 0) printf("take-back %lld\n", (long long)end->retract_from);
    printf("end %.*s %ld text=", (int)end->reason_name.len, end->reason_name.data, (long)end->status);
    print_encoded(event->text); /* the refusal, where there is one */
    putchar('\n');
}

static int32_t on_event(const palisade_event_t *event, void *user) {
    asking_t *asking = user;
    switch (event->kind) {
    case PALISADE_EVENT_STARTED: puts("started"); break;
    case PALISADE_EVENT_PROGRESS: puts("progress"); break;
    case PALISADE_EVENT_TEXT:
        fputs("text ", stdout);
        print_encoded(event->text);
        putchar('\n');
        break;
    case PALISADE_EVENT_VERDICT: /* for the developer's log; the end user sees nothing of it */
        puts(event->verdict->action == PALISADE_ACTION_BLOCK ? "verdict block" : "verdict");
        break;
    case PALISADE_EVENT_END:
        asking->status = event->end->status;
        show_end(event);
        break;
    default: return 0; /* of a later version */
    }
    asking->events++;
    if (asking->events == asking->again) ask_again();
    if (asking->events == asking->release) {
        /* Inside its own callback a session cannot be freed: it is asked to stop, and freed when the call is over. In the
         * pull form it is freed at once, and its request is still read to the end. */
        palisade_session_t *copy = session;
        asking->give_up = palisade_session_free(&copy) == PALISADE_BUSY;
        session = copy;
    }
    fflush(stdout);
    return asking->events == asking->cancel;
}

/* What palisade_session_ask does, in the pull form. */
static palisade_status_t pull(const palisade_request_options_t *options, asking_t *asking) {
    palisade_request_t *running = NULL;
    const palisade_event_t *event = NULL;
    int stopped = 0;
    palisade_status_t status = palisade_session_start(session, options, &running);
    if (status != PALISADE_OK) return status;
    while ((status = palisade_request_next(running, &event)) == PALISADE_OK && event != NULL) {
        /* What was on its way when the user said stop is not shown any more. */
        if (stopped && event->kind != PALISADE_EVENT_END) continue;
        if (on_event(event, asking) == 1 && session != NULL) palisade_session_cancel(session), stopped = 1;
    }
    palisade_request_free(&running);
    return status != PALISADE_OK ? status : asking->status;
}

static void ask(const command_t *command) {
    palisade_request_options_t request;
    palisade_status_t status = palisade_request_options_init(&request, sizeof request);
    asking_t asking = {0, 0, 0, 0, 0, PALISADE_OK};
    asking.cancel = number(command, "cancel");
    asking.release = number(command, "free");
    asking.again = number(command, "again");
    if (status == PALISADE_OK) {
        request.text = value(command, "text");
        request.max_tokens = (uint32_t)number(command, "max");
        request.temperature = 0.0f;
        request.time_unix = (int64_t)time(NULL);
        status = pulls ? pull(&request, &asking) : palisade_session_ask(session, &request, on_event, &asking);
    }
    if (asking.give_up) palisade_session_free(&session);
    printf("done %ld\n", (long)status);
}

static void release(const command_t *command) {
    const palisade_str_t what = value(command, "what");
    if (what.len == 6 && memcmp(what.data, "engine", 6) == 0) answer(palisade_engine_free(&engine));
    else answer(palisade_session_free(&session));
}

int main(int argc, char **argv) {
    char *line;
    pulls = argc > 1 && strcmp(argv[1], "pull") == 0;
    while ((line = read_line()) != NULL) {
        command_t command;
        parse(line, &command);
        if (strcmp(command.name, "open") == 0) open_engine(&command);
        else if (strcmp(command.name, "accept") == 0) accept_license();
        else if (strcmp(command.name, "session") == 0) open_session(&command);
        else if (strcmp(command.name, "ask") == 0) ask(&command);
        else if (strcmp(command.name, "appeal") == 0) answer(palisade_session_appeal(session, (int64_t)time(NULL)));
        else if (strcmp(command.name, "free") == 0) release(&command);
        else if (strcmp(command.name, "quit") == 0) break;
        else printf("unsupported %s\n", command.name);
        fflush(stdout);
    }
    palisade_session_free(&session);
    palisade_engine_free(&engine);
    return 0;
}

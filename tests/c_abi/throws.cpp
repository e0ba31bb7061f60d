// Exceptions out of C++ callbacks: the wrapper keeps them in, a raw one ends the process.
//
//     throws MODEL wrapped|progress|raw
#include <palisade.hpp>

#include <cstring>
#include <iostream>

#define CHECK(condition)                                                                                               \
    if (!(condition)) {                                                                                                \
        std::cerr << __FILE__ << ":" << __LINE__ << ": " << #condition << "\n";                                        \
        return 1;                                                                                                      \
    }

static palisade::Engine accepted(const char *model) {
    palisade::Engine engine{palisade::EngineOptions(model)};
    engine.accept_license(engine.license().text_sha256, "The contract test", 1700000000);
    return engine;
}

static palisade::Request question() {
    palisade::Request request("When are you open?");
    request.raw.max_tokens = 16;
    request.raw.temperature = 0.0f;
    return request;
}

static int wrapped(const char *model) {
    palisade::Engine engine = accepted(model);
    palisade::Session session(engine);
    int events = 0;
    bool caught = false;
    try {
        session.ask(question(), [&](const palisade::Event &) {
            events++;
            throw std::runtime_error("the host's own");
        });
    } catch (const std::runtime_error &error) {
        caught = std::strcmp(error.what(), "the host's own") == 0;
    }
    CHECK(caught && events == 1);

    // The session goes on, and a handler may say bool.
    std::string text;
    std::int32_t reason = 0;
    session.reset();
    session.ask(question(), [&](const palisade::Event &event) {
        text += event.text();
        if (event.is_end()) reason = event.end()->reason;
        return true;
    });
    CHECK(!text.empty() && reason != PALISADE_END_CANCELLED);
    session.ask(question(), [&](const palisade::Event &event) {
        if (event.is_end()) reason = event.end()->reason;
        return false;
    });
    CHECK(reason == PALISADE_END_CANCELLED);

    // The pull form gives the same text.
    std::string pulled;
    session.reset();
    palisade::Answer answer = session.start(question());
    while (const palisade_event_t *event = answer.next()) pulled += palisade::Event(*event).text();
    CHECK(pulled == text);

    try {
        session.count_tokens("\xff");
        CHECK(!"no error");
    } catch (const palisade::Error &error) {
        CHECK(error.status() == PALISADE_UTF8 && std::strcmp(error.name(), "PALISADE_UTF8") == 0);
        CHECK(std::strstr(error.what(), "byte 0") != nullptr);
    }
    palisade::Session moved = std::move(session);
    CHECK(moved.count_tokens("two words") > 0 && engine.license_text().size() > 0);
    return 0;
}

static int progress(const char *model) {
    palisade::EngineOptions options(model);
    options.on_progress = [](const palisade_progress_t &) -> bool { throw std::runtime_error("while loading"); };
    try {
        palisade::Engine engine(options);
        CHECK(!"opened");
    } catch (const std::runtime_error &error) {
        CHECK(std::strcmp(error.what(), "while loading") == 0);
    }
    options.on_progress = [](const palisade_progress_t &) { return false; };
    try {
        palisade::Engine engine(options);
        CHECK(!"opened");
    } catch (const palisade::Error &error) {
        CHECK(error.status() == PALISADE_CANCELLED);
    }
    return 0;
}

static int raw(const char *model) {
    palisade::Engine engine = accepted(model);
    palisade::Session session(engine);
    const auto on_event = [](const palisade_event_t *, void *) -> std::int32_t { throw 1; };
    question().with([&](const palisade_request_options_t &request) {
        return palisade_session_ask(session.raw(), &request, on_event, nullptr);
    });
    return 1; // not reached
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    if (std::strcmp(argv[2], "wrapped") == 0) return wrapped(argv[1]);
    if (std::strcmp(argv[2], "progress") == 0) return progress(argv[1]);
    return raw(argv[1]);
}

// The program that `palisade conform` talks to, on the C++ binding: what examples/conform/driver.c is for C.
//
//     palisade conform --driver ./driver-cpp
#include <palisade.hpp>

#include <cstdio>
#include <ctime>
#include <iostream>
#include <map>
#include <optional>
#include <sstream>
#include <string>

namespace {

using Pairs = std::map<std::string, std::string>;

// What the application holds; the session goes before its engine.
std::optional<palisade::Engine> engine;
std::optional<palisade::Session> session;

std::string decoded(const std::string &word) {
    std::string text;
    for (std::size_t i = 0; i < word.size(); i++) {
        if (word[i] == '%' && i + 2 < word.size()) {
            text += static_cast<char>(std::stoi(word.substr(i + 1, 2), nullptr, 16));
            i += 2;
        } else {
            text += word[i];
        }
    }
    return text;
}

std::string encoded(std::string_view text) {
    std::string word;
    char digits[4];
    for (const char c : text) {
        std::snprintf(digits, sizeof digits, "%%%02X", static_cast<unsigned>(static_cast<unsigned char>(c)));
        word += digits;
    }
    return word;
}

long number(const Pairs &pairs, const char *key) {
    const auto found = pairs.find(key);
    return found == pairs.end() ? 0 : std::stol(found->second);
}

std::string value(const Pairs &pairs, const char *key) {
    const auto found = pairs.find(key);
    return found == pairs.end() ? std::string() : found->second;
}

palisade::Session &open_session() {
    if (!session) throw palisade::Error(PALISADE_CLOSED, "no session is open");
    return *session;
}

palisade::Engine &open_engine() {
    if (!engine) throw palisade::Error(PALISADE_CLOSED, "no engine is open");
    return *engine;
}

void open(const Pairs &pairs) {
    session.reset();
    engine.reset();
    palisade::EngineOptions options(value(pairs, "model"));
    options.policy = value(pairs, "policy");
    options.classifier = value(pairs, "classifier");
    options.state_dir = value(pairs, "state");
    options.audit = value(pairs, "audit");
    options.policy_key = value(pairs, "key");
    options.time_unix = std::time(nullptr);
    engine.emplace(options);
}

void accept() {
    // A real application shows license_text() and asks; the suite is the person who says yes.
    open_engine().accept_license(open_engine().license().text_sha256, "The conformance suite", std::time(nullptr));
}

void ask(const Pairs &pairs) {
    palisade::Request request(value(pairs, "text"));
    request.raw.max_tokens = static_cast<std::uint32_t>(number(pairs, "max"));
    request.raw.temperature = 0.0f;
    request.raw.time_unix = std::time(nullptr);
    const long cancel = number(pairs, "cancel"), give_up = number(pairs, "free"), again = number(pairs, "again");
    long events = 0;
    bool given_up = false;
    const auto show = [&](const palisade::Event &event) {
        switch (event.kind()) {
        case PALISADE_EVENT_STARTED: std::cout << "started\n"; break;
        case PALISADE_EVENT_PROGRESS: std::cout << "progress\n"; break;
        case PALISADE_EVENT_TEXT: std::cout << "text " << encoded(event.text()) << "\n"; break;
        case PALISADE_EVENT_VERDICT:
            std::cout << (event.verdict()->action == PALISADE_ACTION_BLOCK ? "verdict block\n" : "verdict\n");
            break;
        case PALISADE_EVENT_END:
            if (event.end()->retract_from >= 0) std::cout << "take-back " << event.end()->retract_from << "\n";
            std::cout << "end " << event.reason() << " " << event.end()->status << " text=" << encoded(event.text())
                      << "\n";
            break;
        default: return true; // of a later version
        }
        events++;
        if (events == again) {
            palisade_status_t status = PALISADE_OK;
            try {
                session->ask(palisade::Request("And another thing?"), [](const palisade::Event &) { return false; });
            } catch (const palisade::Error &error) {
                status = error.status();
            }
            std::cout << "nested " << status << "\n";
        }
        // An owner cannot be destroyed inside its own handler: it is stopped, and goes when the call is over.
        if (events == give_up) given_up = true;
        std::cout << std::flush;
        return events != cancel && !given_up;
    };
    palisade_status_t status = PALISADE_OK;
    try {
        open_session().ask(request, show);
    } catch (const palisade::Error &error) {
        status = error.status();
    }
    if (given_up) session.reset();
    std::cout << "done " << status << "\n";
}

void release(const Pairs &pairs) {
    session.reset();
    if (value(pairs, "what") == "engine") engine.reset();
}

void obey(const std::string &name, const Pairs &pairs) {
    if (name == "ask") return ask(pairs);
    try {
        if (name == "open") open(pairs);
        else if (name == "accept") accept();
        else if (name == "session") {
            session.reset();
            session.emplace(open_engine(), std::string_view(), value(pairs, "locale"));
        } else if (name == "appeal") open_session().appeal(std::time(nullptr));
        else if (name == "free") release(pairs);
        else {
            std::cout << "unsupported " << name << "\n";
            return;
        }
        std::cout << "ok\n";
    } catch (const palisade::Error &error) {
        std::cout << "error " << error.status() << " text=" << encoded(error.what()) << "\n";
    }
}

} // namespace

int main() {
    std::string line;
    while (std::getline(std::cin, line)) {
        std::istringstream words(line);
        std::string name, word;
        Pairs pairs;
        words >> name;
        while (words >> word) {
            const std::size_t equals = word.find('=');
            if (equals != std::string::npos) pairs[word.substr(0, equals)] = decoded(word.substr(equals + 1));
        }
        if (name == "quit") break;
        obey(name, pairs);
        std::cout << std::flush;
    }
    session.reset();
    engine.reset();
    return 0;
}

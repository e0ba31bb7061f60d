// Asks a model one question and streams the answer, with the licence accepted on the way.
//
//     hello MODEL [QUESTION [PARTY [STATE_DIR]]]
//
// Without PARTY (who accepts the model's licence) it shows the licence and stops there.
#include <palisade.hpp>

#include <ctime>
#include <iostream>

static int hello(int argc, char **argv) {
    palisade::EngineOptions options(argv[1]);
    if (argc > 4) options.state_dir = argv[4]; // none: receipts last as long as the engine
    palisade::Engine engine(options);
    const palisade_engine_info_t info = engine.info();
    std::cout << info.model << " (" << info.architecture << ")\n";

    const palisade_license_t license = engine.license();
    if (!license.accepted) {
        std::cout << "licence \"" << license.name << "\":\n" << engine.license_text() << "\n";
        if (argc <= 3) {
            std::cout << "Name the party that accepts it to go on.\n";
            return 3;
        }
        engine.accept_license(license.text_sha256, argv[3], std::time(nullptr));
        std::cout << "accepted by " << argv[3] << "\n";
    }

    palisade::Session session(engine);
    palisade::Request request(argc > 2 ? argv[2] : "When are you open?");
    request.raw.max_tokens = 64;
    request.raw.temperature = 0.0f; // always the likeliest token: the same answer every time
    request.raw.time_unix = std::time(nullptr);
    std::cout << "> " << request.text << "\n";
    // Called for each piece of the answer, in order; the piece was judged before it came here.
    session.ask(request, [](const palisade::Event &event) {
        std::cout << event.text() << std::flush; // at a blocked end: the refusal
        if (event.is_end())
            std::cout << "\n[" << event.reason() << ", " << event.end()->generated_tokens << " tokens]\n";
    });
    return 0;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        std::cerr << "usage: " << argv[0] << " MODEL [QUESTION [PARTY [STATE_DIR]]]\n";
        return 2;
    }
    try {
        return hello(argc, argv);
    } catch (const std::exception &error) {
        std::cerr << error.what() << "\n";
        return 1;
    }
}

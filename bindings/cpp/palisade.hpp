// Palisade for C++17: owners, strings and exceptions over <palisade.h>, in one header.
//
//     palisade::Engine engine(palisade::EngineOptions("model.gguf"));
//     palisade::Session session(engine);
//     session.ask(palisade::Request("When are you open?"), [](const palisade::Event &event) { std::cout << event.text(); });
//
// A failed call throws palisade::Error with its status. Nothing is thrown through the library: an exception that leaves
// an event or progress handler stops the request, and is thrown again from the call that the handler belongs to.
// A handler returns nothing, or true to go on and false to cancel.
#ifndef PALISADE_HPP
#define PALISADE_HPP

#include <palisade.h>

#include <cstdint>
#include <exception>
#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace palisade {

/// A failed call: its status, and its message in words.
class Error : public std::runtime_error {
  public:
    Error(palisade_status_t status, const std::string &message) : std::runtime_error(message), status_(status) {}
    palisade_status_t status() const noexcept { return status_; }
    const char *name() const noexcept { return palisade_status_name(status_); }

  private:
    palisade_status_t status_;
};

namespace detail {

inline palisade_str_t view(std::string_view text) noexcept { return palisade_str_t{text.data(), text.size()}; }

inline std::string_view text(palisade_str_t view) noexcept {
    return view.len == 0 ? std::string_view() : std::string_view(view.data, view.len);
}

inline void check(palisade_status_t status) {
    if (status == PALISADE_OK) return;
    std::string message(1024, '\0');
    std::size_t needed = 0;
    if (palisade_last_error(message.data(), message.size(), &needed) != PALISADE_OK) needed = 1;
    message.resize(needed - 1);
    throw Error(status, message);
}

template <typename Copy> std::string copied(Copy copy) {
    std::size_t needed = 0;
    const palisade_status_t status = copy(nullptr, std::size_t(0), &needed);
    if (status != PALISADE_BUFFER) check(status);
    std::string text(needed, '\0');
    check(copy(text.data(), text.size(), &needed));
    text.resize(needed - 1);
    return text;
}

/// Calls a handler that may return nothing or a bool, and lets no exception out.
template <typename Handler, typename Argument>
std::int32_t guarded(Handler &handler, const Argument &argument, std::exception_ptr &thrown) noexcept {
    try {
        if constexpr (std::is_void_v<std::invoke_result_t<Handler &, const Argument &>>) {
            handler(argument);
            return 0;
        } else {
            return handler(argument) ? 0 : 1;
        }
    } catch (...) {
        thrown = std::current_exception();
        return 1;
    }
}

/// Owns a handle.
template <typename Handle, palisade_status_t (*Free)(Handle **)> class Owner {
  public:
    Owner() noexcept = default;
    Owner(Owner &&other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    Owner &operator=(Owner &&other) noexcept {
        if (this != &other) {
            Free(&handle_);
            handle_ = std::exchange(other.handle_, nullptr);
        }
        return *this;
    }
    Owner(const Owner &) = delete;
    Owner &operator=(const Owner &) = delete;
    ~Owner() { Free(&handle_); }
    Handle *get() const noexcept { return handle_; }
    Handle **out() noexcept { return &handle_; }

  private:
    Handle *handle_ = nullptr;
};

} // namespace detail

/// How an engine is opened; see palisade_engine_options_t.
struct EngineOptions {
    explicit EngineOptions(std::string model_path) : model(std::move(model_path)) {}
    std::string model;
    std::string policy;
    std::string classifier;
    std::string state_dir;
    std::string audit;
    /// Public key that has to have signed the policy; see palisade_engine_options_t.
    std::string policy_key;
    std::string shadow_policy;
    std::string audit_key;
    std::uint64_t audit_rotate_bytes = 0;
    std::uint64_t audit_checkpoint_every = 0;
    std::uint8_t audit_sync = PALISADE_SYNC_REQUEST;
    bool audit_plain_text = false;
    palisade_checkpoint_fn on_checkpoint = nullptr;
    void *checkpoint_user = nullptr;
    /// A guard model, a GGUF file of Llama Guard 3 or 4; its licence is accepted after the model's.
    std::string guard_model;
    /// The guard model's family where its file does not say; empty = what the file says.
    std::string guard_family;
    std::uint32_t threads = 0;
    std::uint32_t context = 0;
    std::uint32_t prefill_batch = 0;
    std::uint64_t memory_budget = 0;
    bool map_weights = false;
    /// The host's time in seconds since 1970, for the audit log.
    std::int64_t time_unix = 0;
    /// Returns true to go on, false to cancel.
    std::function<bool(const palisade_progress_t &)> on_progress;
};

/// A model with its guards.
class Engine {
  public:
    explicit Engine(const EngineOptions &options) {
        struct Call {
            const std::function<bool(const palisade_progress_t &)> &handler;
            std::exception_ptr thrown;
        } call{options.on_progress, nullptr};
        palisade_engine_options_t raw;
        detail::check(palisade_engine_options_init(&raw, sizeof raw));
        raw.model = detail::view(options.model);
        raw.policy = detail::view(options.policy);
        raw.classifier = detail::view(options.classifier);
        raw.state_dir = detail::view(options.state_dir);
        raw.audit = detail::view(options.audit);
        raw.policy_key = detail::view(options.policy_key);
        raw.shadow_policy = detail::view(options.shadow_policy);
        raw.audit_key = detail::view(options.audit_key);
        raw.audit_rotate_bytes = options.audit_rotate_bytes;
        raw.audit_checkpoint_every = options.audit_checkpoint_every;
        raw.audit_sync = options.audit_sync;
        raw.audit_plain_text = options.audit_plain_text ? 1 : 0;
        raw.on_checkpoint = options.on_checkpoint;
        raw.checkpoint_user = options.checkpoint_user;
        raw.guard_model = detail::view(options.guard_model);
        raw.guard_family = detail::view(options.guard_family);
        raw.threads = options.threads;
        raw.context = options.context;
        raw.prefill_batch = options.prefill_batch;
        raw.memory_budget = options.memory_budget;
        raw.map_weights = options.map_weights ? 1 : 0;
        raw.time_unix = options.time_unix;
        raw.user = &call;
        if (options.on_progress) {
            raw.on_progress = [](const palisade_progress_t *progress, void *user) noexcept -> std::int32_t {
                auto &call = *static_cast<Call *>(user);
                return detail::guarded(call.handler, *progress, call.thrown);
            };
        }
        const palisade_status_t status = palisade_engine_open(&raw, owner_.out());
        if (call.thrown) std::rethrow_exception(call.thrown);
        detail::check(status);
    }

    palisade_engine_info_t info() const {
        palisade_engine_info_t info;
        detail::check(palisade_engine_info(owner_.get(), &info, sizeof info));
        return info;
    }

    palisade_license_t license() const {
        palisade_license_t license;
        detail::check(palisade_license_status(owner_.get(), &license, sizeof license));
        return license;
    }

    std::string license_text() const {
        return detail::copied([this](char *buf, std::size_t cap, std::size_t *needed) {
            return palisade_license_text(owner_.get(), buf, cap, needed);
        });
    }

    /// What the licence asks to be displayed or shipped, one line each.
    std::string license_notices() const {
        return detail::copied([this](char *buf, std::size_t cap, std::size_t *needed) {
            return palisade_license_notices(owner_.get(), buf, cap, needed);
        });
    }

    /// Accepts the licence; text_sha256 is that of the text that was shown.
    void accept_license(std::string_view text_sha256, std::string_view party, std::int64_t time_unix) {
        palisade_acceptance_t acceptance;
        detail::check(palisade_acceptance_init(&acceptance, sizeof acceptance));
        acceptance.text_sha256 = detail::view(text_sha256);
        acceptance.party = detail::view(party);
        acceptance.time_unix = time_unix;
        detail::check(palisade_license_accept(owner_.get(), &acceptance));
    }

    palisade_engine_t *raw() const noexcept { return owner_.get(); }

  private:
    detail::Owner<palisade_engine_t, palisade_engine_free> owner_;
};

/// An event of a request; valid inside the handler only.
class Event {
  public:
    explicit Event(const palisade_event_t &raw) noexcept : raw_(raw) {}
    std::int32_t kind() const noexcept { return raw_.kind; }
    bool is_end() const noexcept { return raw_.kind == PALISADE_EVENT_END; }
    /// Released text, or the refusal to show at a blocked end; else empty.
    std::string_view text() const noexcept { return detail::text(raw_.text); }
    const palisade_verdict_t *verdict() const noexcept { return raw_.verdict; }
    const palisade_end_t *end() const noexcept { return raw_.end; }
    /// How the request ended, such as "stop"; empty at other events.
    std::string_view reason() const noexcept {
        return raw_.end ? detail::text(raw_.end->reason_name) : std::string_view();
    }
    const palisade_event_t &raw() const noexcept { return raw_; }

  private:
    const palisade_event_t &raw_;
};

/// What is asked; see palisade_request_options_t for the sampling fields of raw.
class Request {
  public:
    explicit Request(std::string question) : text(std::move(question)) {
        detail::check(palisade_request_options_init(&raw, sizeof raw));
    }
    std::string text;
    std::vector<std::string> stop;
    palisade_request_options_t raw;

    /// Gives the C struct to `use`, with its texts alive.
    template <typename Use> palisade_status_t with(Use use) const {
        std::vector<palisade_str_t> views;
        for (const std::string &one : stop) views.push_back(detail::view(one));
        palisade_request_options_t filled = raw;
        filled.text = detail::view(text);
        filled.stop = views.data();
        filled.stop_count = views.size();
        return use(filled);
    }
};

/// A request in the pull form: `while (const palisade_event_t *event = answer.next()) ...`
class Answer {
  public:
    /// The next event, NULL after the end; valid until the next call.
    const palisade_event_t *next() {
        const palisade_event_t *event = nullptr;
        detail::check(palisade_request_next(owner_.get(), &event));
        return event;
    }

  private:
    friend class Session;
    detail::Owner<palisade_request_t, palisade_request_free> owner_;
};

/// One dialog with an engine.
class Session {
  public:
    explicit Session(const Engine &engine, std::string_view system = {}, std::string_view locale = {}) {
        palisade_session_options_t raw;
        detail::check(palisade_session_options_init(&raw, sizeof raw));
        raw.system = detail::view(system);
        raw.locale = detail::view(locale);
        detail::check(palisade_session_open(engine.raw(), &raw, owner_.out()));
    }

    /// Asks, and gives the events to the handler as they come. Returns after the end.
    template <typename Handler> void ask(const Request &request, Handler &&handler) {
        struct Call {
            std::remove_reference_t<Handler> &handler;
            std::exception_ptr thrown;
        } call{handler, nullptr};
        const auto on_event = [](const palisade_event_t *event, void *user) noexcept -> std::int32_t {
            auto &call = *static_cast<Call *>(user);
            // After an exception only the end is left to come, and nobody to tell.
            return call.thrown ? 1 : detail::guarded(call.handler, Event(*event), call.thrown);
        };
        const palisade_status_t status = request.with([&](const palisade_request_options_t &raw) {
            return palisade_session_ask(owner_.get(), &raw, on_event, &call);
        });
        if (call.thrown) std::rethrow_exception(call.thrown);
        detail::check(status);
    }

    /// Asks in the pull form.
    Answer start(const Request &request) {
        Answer answer;
        detail::check(request.with([&](const palisade_request_options_t &raw) {
            return palisade_session_start(owner_.get(), &raw, answer.owner_.out());
        }));
        return answer;
    }

    /// Stops the running request; from any thread, and from inside a handler.
    void cancel() { detail::check(palisade_session_cancel(owner_.get())); }

    /// Notes in the audit log that the end user calls the last refusal wrong.
    void appeal(std::int64_t time_unix) { detail::check(palisade_session_appeal(owner_.get(), time_unix)); }

    void reset() { detail::check(palisade_session_reset(owner_.get())); }

    std::size_t count_tokens(std::string_view text) const {
        std::size_t count = 0;
        detail::check(palisade_tokens_count(owner_.get(), detail::view(text), &count));
        return count;
    }

    palisade_session_t *raw() const noexcept { return owner_.get(); }

  private:
    detail::Owner<palisade_session_t, palisade_session_free> owner_;
};

} // namespace palisade

#endif // PALISADE_HPP

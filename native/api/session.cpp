// The part of the C interface that works on a session.
#include <atomic>
#include <memory>
#include <mutex>
#include <set>

#include "api/guard.h"
#include "api/requests.h"
#include "base/error.h"

// What the opaque handle points to.
struct stepd_session {
    std::unique_ptr<stepd::Session> session;
    std::atomic<bool> busy{false};      // a call is in progress
    std::atomic<bool> poisoned{false};  // after device_lost or internal
};

namespace stepd::api {
namespace {

// Handles that have not been destroyed, so that a stale one is an error and not a crash.
std::mutex live_mutex;
std::set<const stepd_session*> live_sessions;

bool is_live(const stepd_session* s) {
    const std::lock_guard lock(live_mutex);
    return live_sessions.contains(s);
}

// The one call at a time that the contract allows.
class Call {
public:
    explicit Call(stepd_session* s) : s_(s) {
        STEPD_REQUIRE(is_live(s), Code::invalid, "session: not a live session");
        STEPD_REQUIRE(!s->poisoned, Code::state,
                      "the session was poisoned by an earlier error and can only be destroyed");
        STEPD_REQUIRE(!s->busy.exchange(true), Code::state, "another call on this session is in progress");
    }
    ~Call() { s_->busy = false; }
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

private:
    stepd_session* s_;
};

// Runs `body` on the session behind the handle. An error that leaves the session in doubt poisons it.
template <class Body>
stepd_status with_session(stepd_session* s, stepd_error* error, const Body& body) noexcept {
    bool entered = false;
    const stepd_status status = guard(error, [&] {
        const Call call(s);
        entered = true;
        body(*s->session);
    });
    if (entered && (status == STEPD_INTERNAL || status == STEPD_DEVICE_LOST)) s->poisoned = true;
    return status;
}

EventSink sink_of(const stepd_callbacks* callbacks) {
    EventSink sink;
    if (!callbacks || !callbacks->on_event) return sink;
    STEPD_REQUIRE(callbacks->struct_size >= sizeof(stepd_callbacks), Code::invalid,
                  "callbacks.struct_size = ", callbacks->struct_size, ", expected ", sizeof(stepd_callbacks));
    const stepd_callbacks c = *callbacks;
    auto send = [c](stepd_event_kind kind, const std::string& json) {
        c.on_event(c.user_data, int32_t(kind), json.data(), json.size());
    };
    sink.on_step = [send](const StepEvent& e) { send(STEPD_EVENT_STEP, to_json(e)); };
    sink.on_progress = [send](const ProgressEvent& e) { send(STEPD_EVENT_PROGRESS, to_json(e)); };
    sink.on_preview = [send](const PreviewEvent& e) { send(STEPD_EVENT_PREVIEW, to_json(e)); };
    return sink;
}

}  // namespace
}  // namespace stepd::api

using namespace stepd::api;  // the functions below are C; names of the library would only get longer

extern "C" {

stepd_status stepd_session_create(const char* config, size_t config_size, const stepd_callbacks* callbacks,
                                  const stepd_cancellation* cancellation, stepd_session** out, stepd_error* error) {
    return guard(error, [&] {
        STEPD_REQUIRE(out, stepd::Code::invalid, "out: null pointer");
        *out = nullptr;
        auto handle = std::make_unique<stepd_session>();
        handle->session = std::make_unique<stepd::Session>(parse_session_config(borrow(config, config_size, "config")),
                                                           sink_of(callbacks), 0, flag_of(cancellation));
        const std::lock_guard lock(live_mutex);
        live_sessions.insert(handle.get());
        count_live(1);
        *out = handle.release();
    });
}

stepd_status stepd_session_encode_images(stepd_session* s, const char* json, size_t json_size, stepd_error* error) {
    return with_session(s, error, [&](stepd::Session& session) {
        session.encode_images(parse_images(borrow(json, json_size, "json")));
    });
}

stepd_status stepd_session_encode_text(stepd_session* s, const char* json, size_t json_size, stepd_error* error) {
    return with_session(s, error, [&](stepd::Session& session) {
        session.encode_text(parse_captions(borrow(json, json_size, "json")));
    });
}

stepd_status stepd_session_set_samples(stepd_session* s, const char* json, size_t json_size, stepd_error* error) {
    return with_session(s, error, [&](stepd::Session& session) {
        SamplesRequest request = parse_samples(borrow(json, json_size, "json"));
        session.set_samples(std::move(request.samples), request.empty);
    });
}

stepd_status stepd_session_train(stepd_session* s, const char* steps, size_t steps_size, stepd_buffer* result,
                                 stepd_error* error) {
    return with_session(s, error, [&](stepd::Session& session) {
        STEPD_REQUIRE(result, stepd::Code::invalid, "result: null pointer");
        give(result, to_json(session.train(parse_steps(borrow(steps, steps_size, "steps")))));
    });
}

stepd_status stepd_session_evaluate(stepd_session* s, const char* json, size_t json_size, stepd_buffer* losses,
                                    stepd_error* error) {
    return with_session(s, error, [&](stepd::Session& session) {
        STEPD_REQUIRE(losses, stepd::Code::invalid, "losses: null pointer");
        give(losses, nlohmann::json(session.evaluate(parse_evaluations(borrow(json, json_size, "json")))).dump());
    });
}

stepd_status stepd_session_sample(stepd_session* s, const char* json, size_t json_size, stepd_error* error) {
    return with_session(s, error, [&](stepd::Session& session) {
        session.sample(parse_sample_requests(borrow(json, json_size, "json")));
    });
}

stepd_status stepd_session_save(stepd_session* s, const char* dir, size_t dir_size, stepd_buffer* files,
                                stepd_error* error) {
    return with_session(s, error, [&](stepd::Session& session) {
        STEPD_REQUIRE(files, stepd::Code::invalid, "files: null pointer");
        give(files, nlohmann::json(session.save(borrow(dir, dir_size, "dir"))).dump());
    });
}

stepd_status stepd_session_restore(stepd_session* s, const char* dir, size_t dir_size, stepd_error* error) {
    return with_session(s, error, [&](stepd::Session& session) { session.restore(borrow(dir, dir_size, "dir")); });
}

stepd_status stepd_session_export(stepd_session* s, const char* json, size_t json_size, stepd_error* error) {
    return with_session(s, error, [&](stepd::Session& session) {
        session.export_weights(parse_export(borrow(json, json_size, "json")));
    });
}

int64_t stepd_session_step(const stepd_session* s) { return is_live(s) ? s->session->step() : -1; }

void stepd_session_cancel(stepd_session* s) {
    if (is_live(s)) s->session->cancel();
}

void stepd_session_resume(stepd_session* s) {
    if (is_live(s)) s->session->resume();
}

void stepd_session_destroy(stepd_session* s) {
    if (!s) return;
    {
        const std::lock_guard lock(live_mutex);
        if (live_sessions.erase(s) == 0) return;
    }
    delete s;
    count_live(-1);
}

}  // extern "C"

// Errors inside the native core. Exceptions never cross the C ABI: api/guard.h turns them into a status.
#pragma once

#include <cstdint>
#include <sstream>
#include <stdexcept>
#include <string>

namespace stepd {

// Error codes; the numbers are part of the C ABI (stepd_status in include/stepd/stepd.h).
enum class Code : int32_t {
    ok = 0,
    invalid = 1,        // a request or configuration that can never work
    not_found = 2,      // a file, tensor, family or device that is not there
    unsupported = 3,    // valid, but this build or backend cannot do it
    out_of_memory = 4,  // host memory
    device_oom = 5,     // device memory
    device_lost = 6,    // the device or its driver failed; the session is poisoned
    io = 7,             // reading or writing a file failed
    cancelled = 8,      // stopped on request
    state = 9,          // the call is not legal in the session's present state
    numeric = 10,       // a loss, gradient or weight is not finite
    internal = 11,      // a defect in this library
};

class Error : public std::runtime_error {
public:
    Error(Code code, std::string place, const std::string& message)
        : std::runtime_error(message), code_(code), place_(std::move(place)) {}
    Code code() const { return code_; }
    const std::string& place() const { return place_; }

private:
    Code code_;
    std::string place_;
};

namespace detail {
template <class... Args>
std::string concat(const Args&... args) {
    std::ostringstream out;
    (out << ... << args);
    return out.str();
}
}  // namespace detail

}  // namespace stepd

#define STEPD_STRINGIZE_(x) #x
#define STEPD_STRINGIZE(x) STEPD_STRINGIZE_(x)

// Throws stepd::Error with the given code; the remaining arguments are streamed into the message.
#define STEPD_THROW(code, ...) \
    throw ::stepd::Error((code), __FILE__ ":" STEPD_STRINGIZE(__LINE__), ::stepd::detail::concat(__VA_ARGS__))

// For what a caller can get wrong.
#define STEPD_REQUIRE(condition, code, ...)               \
    do {                                                  \
        if (!(condition)) STEPD_THROW(code, __VA_ARGS__); \
    } while (0)

// For what only a defect in this library can break.
#define STEPD_CHECK(condition, ...) \
    STEPD_REQUIRE(condition, ::stepd::Code::internal, "check " #condition " failed: ", __VA_ARGS__)

// The edge of the library: exceptions become a status and the caller's stepd_error; nothing else leaves.
#pragma once

#include <stepd/stepd.h>

#include <string>

#include "base/cancellation.h"

// What the opaque handle points to.
struct stepd_cancellation {
    stepd::Cancellation flag;
};

namespace stepd::api {

inline const Cancellation* flag_of(const stepd_cancellation* c) { return c ? &c->flag : nullptr; }

// Fills *error (which may be null) from the exception being handled and returns its status. Call inside a catch block.
stepd_status report(stepd_error* error) noexcept;

template <class Body>
stepd_status guard(stepd_error* error, const Body& body) noexcept {
    try {
        body();
        return STEPD_OK;
    } catch (...) {
        return report(error);
    }
}

// The bytes as a string. Throws Code::invalid naming `what` when data is null and size is not zero.
std::string borrow(const char* data, size_t size, const char* what);

// Copies text into a buffer that the caller frees. Throws Code::invalid when out is null.
void give(stepd_buffer* out, const std::string& text);

// Number of live sessions, cancellations and buffers.
void count_live(int change) noexcept;

}  // namespace stepd::api

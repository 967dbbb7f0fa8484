// A request to stop, made by any thread at any moment and noticed at the next safe point.
#pragma once

#include <atomic>

#include "base/error.h"

namespace stepd {

class Cancellation {
public:
    void cancel() { cancelled_ = true; }
    void resume() { cancelled_ = false; }
    bool cancelled() const { return cancelled_; }
    // Throws Code::cancelled naming what was stopped.
    void check(const char* what) const { STEPD_REQUIRE(!cancelled_, Code::cancelled, what, " was cancelled"); }

private:
    std::atomic<bool> cancelled_{false};
};

}  // namespace stepd

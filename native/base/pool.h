// Fork-join thread pool with dynamic tickets: one thread per core, a short spin and then a futex wait, so that a
// descheduled thread delays only its own ticket. Results must not depend on which thread takes which ticket.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

namespace stepd {

class Pool {
public:
    // threads >= 1 counts the caller; 0 means one per available core (STEPD_THREADS overrides).
    explicit Pool(int threads = 0);
    ~Pool();
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;

    int threads() const;

    // Calls body(ticket, thread) once for every ticket in [0, tickets) and returns when all are done. `thread` is in
    // [0, threads()). Not reentrant. The first exception thrown by a ticket is rethrown here after all have stopped.
    template <class Body>
    void run(int64_t tickets, const Body& body) {
        run_tickets(
            tickets, [](const void* b, int64_t ticket, int thread) { (*static_cast<const Body*>(b))(ticket, thread); },
            &body);
    }

    // Private scratch of one thread: at least `bytes`, 64-byte aligned, huge pages where possible. Contents survive
    // until the same thread asks for more. The planner counts scratch_bytes() as workspace.
    void* scratch(int thread, size_t bytes);
    size_t scratch_bytes() const;

private:
    using Fn = void (*)(const void* body, int64_t ticket, int thread);
    void run_tickets(int64_t tickets, Fn fn, const void* body);
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace stepd

// Hands out the tickets of one run after another to threads of which some may be late: descheduled in the middle of a
// look at the last run, they come back while the next one is being set up.
#pragma once

#include <atomic>
#include <cstdint>

namespace stepd {

class Tickets {
public:
    using Fn = void (*)(const void* body, int64_t ticket, int thread);
    struct Run {
        Fn call = nullptr;
        const void* body = nullptr;
        uint32_t count = 0;
    };

    // One look at the run. Its parts belong together only if take() then succeeds.
    struct View {
        uint64_t word = 0;
        Run run;
        uint32_t generation() const { return uint32_t(word >> 32); }
        uint32_t ticket() const { return uint32_t(word); }
        bool open(uint32_t of_generation) const { return generation() == of_generation && ticket() < run.count; }
    };

    // Publishes a run when every ticket of the last one is done. `between` is called between its steps: the pool does
    // nothing there, tests let a late thread act.
    template <class Between>
    void start(uint32_t generation, const Run& run, const Between& between) {
        // Closed before anything of the run changes: a late thread would otherwise find the last run's word beside the
        // new number of tickets, and take one more ticket.
        next_.exchange(uint64_t(generation) << 32 | UINT32_MAX, std::memory_order_acq_rel);
        between();
        call_.store(run.call, std::memory_order_relaxed);
        body_.store(run.body, std::memory_order_relaxed);
        count_.store(run.count, std::memory_order_relaxed);
        between();
        next_.store(uint64_t(generation) << 32, std::memory_order_release);
    }

    View look() const {
        View view;
        view.word = next_.load(std::memory_order_acquire);
        view.run.call = call_.load(std::memory_order_relaxed);
        view.run.body = body_.load(std::memory_order_relaxed);
        view.run.count = count_.load(std::memory_order_relaxed);
        return view;
    }

    // Takes the ticket that the view shows; false when the run has moved on since, or by chance.
    bool take(View view) { return next_.compare_exchange_weak(view.word, view.word + 1, std::memory_order_acq_rel); }

private:
    // The run's generation in the upper half and its next ticket in the lower: exchanged as a whole, so a ticket of one
    // run is never taken with the body of another.
    std::atomic<uint64_t> next_{0};
    std::atomic<Fn> call_{nullptr};
    std::atomic<const void*> body_{nullptr};
    std::atomic<uint32_t> count_{0};
};

}  // namespace stepd

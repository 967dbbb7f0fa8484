#include "base/pool.h"

#include <immintrin.h>
#include <sched.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <mutex>
#include <new>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/tickets.h"

namespace stepd {
namespace {

constexpr auto kSpin = std::chrono::microseconds(30);
constexpr size_t kHugePage = size_t(2) << 20;
constexpr int kMaxThreads = 1024;

// The processors that a container's quota is worth ("200000 100000": two), or `cores` when there is no quota.
int within_quota(int cores) {
    std::ifstream file("/sys/fs/cgroup/cpu.max");
    double quota = 0, period = 0;
    if (!(file >> quota >> period) || period <= 0) return cores;  // no file, or "max": no quota
    return std::clamp(int(std::ceil(quota / period)), 1, cores);
}

int available_cores() {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return std::max(1, int(std::thread::hardware_concurrency()));
    return within_quota(std::max(1, CPU_COUNT(&set)));
}

int thread_count(int requested) {
    STEPD_REQUIRE(requested >= 0 && requested <= kMaxThreads, Code::invalid, "threads = ", requested,
                  " is not between 0 (one per core) and ", kMaxThreads);
    if (requested > 0) return requested;
    const char* text = std::getenv("STEPD_THREADS");
    if (!text || !*text) return available_cores();
    char* end = nullptr;
    long n = std::strtol(text, &end, 10);
    STEPD_REQUIRE(*end == 0 && n >= 1 && n <= kMaxThreads, Code::invalid, "STEPD_THREADS = \"", text,
                  "\" is not a number between 1 and ", kMaxThreads);
    return int(n);
}

// Waits until `word` differs from `old`: spins first, because the next matmul is usually microseconds away.
void wait_for_change(const std::atomic<uint32_t>& word, uint32_t old) {
    auto deadline = std::chrono::steady_clock::now() + kSpin;
    do {
        for (int i = 0; i < 32; i++) {
            if (word.load(std::memory_order_acquire) != old) return;
            _mm_pause();
        }
    } while (std::chrono::steady_clock::now() < deadline);
    word.wait(old, std::memory_order_acquire);
}

// Memory of one thread on huge pages; grows, never shrinks.
class Scratch {
public:
    Scratch() = default;
    Scratch(Scratch&& other) noexcept : data_(other.data_), size_(other.size_) { other.data_ = nullptr; }
    ~Scratch() { std::free(data_); }

    void* at_least(size_t bytes) {
        if (bytes <= size_) return data_;
        size_t size = (bytes + kHugePage - 1) / kHugePage * kHugePage;
        std::free(data_);
        size_ = 0;
        data_ = std::aligned_alloc(kHugePage, size);
        STEPD_REQUIRE(data_, Code::out_of_memory, "cannot allocate ", size, " bytes of kernel scratch");
        madvise(data_, size, MADV_HUGEPAGE);  // only a hint: without huge pages it is merely slower
        size_ = size;
        return data_;
    }
    size_t size() const { return size_; }

private:
    void* data_ = nullptr;
    size_t size_ = 0;
};

}  // namespace

// One run at a time; it stays as it is until every ticket of its generation is done.
struct Pool::State {
    Tickets tickets;
    std::atomic<uint32_t> done{0};        // tickets of this generation that have finished
    std::atomic<uint32_t> generation{0};  // workers sleep on it
    std::atomic<uint32_t> finished{0};    // last generation all of whose tickets are done; the caller sleeps on it
    std::atomic<bool> running{false};
    std::atomic<bool> failed{false};  // the remaining tickets are counted but not run
    std::atomic<bool> stop{false};
    std::mutex error_mutex;
    std::exception_ptr error;
    std::vector<std::thread> workers;
    std::vector<Scratch> scratch;

    void run_ticket(Fn call, const void* argument, uint32_t ticket, int thread) {
        if (failed.load(std::memory_order_relaxed)) return;
        try {
            call(argument, ticket, thread);
        } catch (...) {
            std::lock_guard lock(error_mutex);
            if (!error) error = std::current_exception();
            failed.store(true, std::memory_order_relaxed);
        }
    }

    // Takes tickets of generation `g` until none is left.
    void work(uint32_t g, int thread) {
        for (;;) {
            Tickets::View view = tickets.look();
            if (!view.open(g)) return;
            if (!tickets.take(view)) continue;
            run_ticket(view.run.call, view.run.body, view.ticket(), thread);
            if (done.fetch_add(1, std::memory_order_acq_rel) + 1 == view.run.count) {
                finished.store(g, std::memory_order_release);
                finished.notify_one();
            }
        }
    }

    void worker(int thread) {
        for (uint32_t seen = 0;;) {
            wait_for_change(generation, seen);
            seen = generation.load(std::memory_order_acquire);
            if (stop.load(std::memory_order_relaxed)) return;
            work(seen, thread);
        }
    }

    // The caller's thread takes part as thread 0.
    void fork_join(uint32_t total, Fn call, const void* argument) {
        uint32_t g = generation.load(std::memory_order_relaxed) + 1;
        done.store(0, std::memory_order_relaxed);
        tickets.start(g, {call, argument, total}, [] {});
        generation.store(g, std::memory_order_release);
        generation.notify_all();
        work(g, 0);
        for (uint32_t f; (f = finished.load(std::memory_order_acquire)) != g;) wait_for_change(finished, f);
    }

    void join() {
        stop.store(true, std::memory_order_relaxed);
        generation.fetch_add(1, std::memory_order_release);
        generation.notify_all();
        for (auto& w : workers) w.join();
    }
};

Pool::Pool(int threads) : state_(std::make_unique<State>()) {
    int count = thread_count(threads);
    state_->scratch.resize(size_t(count));
    try {
        for (int i = 1; i < count; i++) state_->workers.emplace_back([s = state_.get(), i] { s->worker(i); });
    } catch (const std::exception& e) {
        state_->join();
        STEPD_THROW(Code::out_of_memory, "cannot start ", count, " kernel threads: ", e.what(),
                    "; lower STEPD_THREADS");
    }
}

Pool::~Pool() { state_->join(); }

int Pool::threads() const { return int(state_->scratch.size()); }

void Pool::run_tickets(int64_t tickets, Fn fn, const void* body) {
    STEPD_CHECK(tickets >= 0 && tickets < INT64_C(0xffffffff), "pool run of ", tickets, " tickets");
    if (tickets == 0) return;
    State& s = *state_;
    STEPD_CHECK(!s.running.exchange(true), "pool run inside a ticket of the same pool");
    s.failed.store(false, std::memory_order_relaxed);
    if (threads() == 1 || tickets == 1) {
        for (int64_t t = 0; t < tickets; t++) s.run_ticket(fn, body, uint32_t(t), 0);
    } else {
        s.fork_join(uint32_t(tickets), fn, body);
    }
    s.running.store(false);
    if (s.error) std::rethrow_exception(std::exchange(s.error, nullptr));
}

void* Pool::scratch(int thread, size_t bytes) { return state_->scratch.at(size_t(thread)).at_least(bytes); }

size_t Pool::scratch_bytes() const {
    size_t total = 0;
    for (const auto& s : state_->scratch) total += s.size();
    return total;
}

}  // namespace stepd

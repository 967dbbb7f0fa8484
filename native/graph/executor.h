// Replays a plan on a backend. Every tensor lies in memory that was allocated before.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "graph/plan.h"

namespace stepd {

// Zero-initialised, 64-byte aligned memory on huge pages where the system gives them. Throws Code::out_of_memory with
// the size.
class Buffer {
public:
    Buffer() = default;
    explicit Buffer(size_t bytes);
    ~Buffer();
    Buffer(Buffer&& other) noexcept;
    Buffer& operator=(Buffer&& other) noexcept;
    void* data() const { return data_; }
    size_t size() const { return size_; }

private:
    void* data_ = nullptr;
    size_t size_ = 0;
};

struct NodeTime {
    int node;
    double seconds, flop, bytes;
};

// The profile as text: time, FLOP/s and bytes/s by op and part (forward, backward), slowest first, and in total.
std::string print_profile(const Plan& plan, const std::vector<NodeTime>& times);

class Executor {
public:
    // Throws Code::unsupported naming an op that the backend lacks. The plan is moved in. arena: at least
    // report.arena_bytes, borrowed (several plans of one session share one); null: the executor owns its own.
    Executor(Plan plan, Backend& backend, Buffer* arena = nullptr);
    ~Executor();

    // Memory of a parameter, input or output; borrowed, must match the value's bytes and outlive the replays.
    void bind(const std::string& name, void* data);
    bool has(const std::string& name) const;
    const Value& value(const std::string& name) const;  // throws Code::internal when there is none

    // Runs all nodes. Every parameter, input and output must be bound (Code::internal names the first that is not).
    void run();
    // The same, asking go_on before every node. False: it said no, and what the outputs hold is undefined.
    bool run_while(const std::function<bool()>& go_on);

    const Plan& plan() const;
    std::vector<NodeTime> profile();  // one run with a clock around every node
    // Fills the arena with NaN before each run and each range after its last reader: finds reads of dead memory.
    void set_poison(bool on);

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace stepd

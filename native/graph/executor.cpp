#include "graph/executor.h"

#include <sys/mman.h>

#include <chrono>
#include <cstring>
#include <unordered_map>
#include <utility>

#include "graph/storage.h"
#include "ops/op.h"

namespace stepd {

Buffer::Buffer(size_t bytes) : size_(bytes) {
    if (bytes == 0) return;
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    STEPD_REQUIRE(memory != MAP_FAILED, Code::out_of_memory, "cannot allocate ", bytes, " bytes (",
                  bytes / (size_t(1) << 20), " MiB)");
    constexpr size_t huge_page = size_t(2) << 20;
    if (bytes >= huge_page) madvise(memory, bytes, MADV_HUGEPAGE);  // a hint: smaller pages only cost time
    data_ = memory;
}

Buffer::~Buffer() {
    if (data_) munmap(data_, size_);
}

Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
}

struct Executor::State {
    struct Call {
        Kernel kernel = nullptr;
        int node = 0;
        std::vector<Tensor> in, out;
    };

    Plan plan;
    Backend& backend;
    Buffer own_arena;
    char* arena = nullptr;
    std::vector<Call> calls;
    std::unordered_map<std::string, ValueId> names;
    std::vector<void*> bound;                 // per value: memory of a parameter, input or output
    std::vector<std::vector<Tensor*>> users;  // per value with memory of its own: where its address goes
    bool poison = false;

    State(Plan p, Backend& b) : plan(std::move(p)), backend(b) {}

    void prepare();
    void resolve(std::vector<Tensor>& tensors, const std::vector<ValueId>& values);
    void require_bound() const;
    void execute(const Call& call) {
        const Node& node = plan.graph.nodes[size_t(call.node)];
        call.kernel(KernelArgs{call.in, call.out, node.attrs, *backend.pool()});
        if (poison) {
            for (ValueId v : plan.released[size_t(call.node)]) fill_with_nan(v);
        }
    }
    void fill_with_nan(ValueId storage) {
        memset(arena + plan.offsets[size_t(storage)], 0xff, bytes_of(plan.graph.value(storage)));
    }
    void start() {
        require_bound();
        if (poison && arena) memset(arena, 0xff, size_t(plan.report.arena_bytes));  // all ones is a NaN in f32 and bf16
    }
};

void Executor::State::resolve(std::vector<Tensor>& tensors, const std::vector<ValueId>& values) {
    tensors.resize(values.size());
    for (size_t i = 0; i < values.size(); ++i) {
        if (values[i] == kNone) continue;
        const Value& v = plan.graph.value(values[i]);
        tensors[i].dtype = v.dtype;
        tensors[i].shape = v.shape;
        ValueId storage = plan.storage[size_t(values[i])];
        if (int64_t offset = plan.offsets[size_t(storage)]; offset >= 0) {
            tensors[i].data = arena + offset;
        } else {
            users[size_t(storage)].push_back(&tensors[i]);
        }
    }
}

void Executor::State::prepare() {
    const Graph& g = plan.graph;
    for (size_t i = 0; i < g.values.size(); ++i) {
        if (!g.values[i].name.empty()) names.emplace(g.values[i].name, ValueId(i));
    }
    bound.resize(g.values.size());
    users.resize(g.values.size());
    calls.reserve(g.nodes.size());  // users points into the calls
    for (size_t i = 0; i < g.nodes.size(); ++i) {
        const Node& node = g.nodes[i];
        if (node.op->alias && plan.storage[size_t(node.inputs[0])] == plan.storage[size_t(node.outputs[0])]) continue;
        Kernel kernel = backend.find(node.op->name);
        STEPD_REQUIRE(kernel, Code::unsupported, "the ", backend.name(), " backend lacks the op ", node.op->name);
        Call& call = calls.emplace_back();
        call.kernel = kernel;
        call.node = int(i);
        resolve(call.in, node.inputs);
        resolve(call.out, node.outputs);
    }
}

void Executor::State::require_bound() const {
    STEPD_REQUIRE(backend.executes(), Code::unsupported, "the ", backend.name(), " backend plans but does not run");
    for (size_t i = 0; i < bound.size(); ++i) {
        STEPD_REQUIRE(bound[i] || users[i].empty(), Code::internal, plan.graph.values[i].name, " is not bound");
    }
}

Executor::Executor(Plan plan, Backend& backend, Buffer* arena)
    : state_(std::make_unique<State>(std::move(plan), backend)) {
    auto bytes = size_t(state_->plan.report.arena_bytes);
    if (backend.executes()) {
        if (arena) {
            STEPD_CHECK(arena->size() >= bytes, "the arena has ", arena->size(), " bytes, the plan needs ", bytes);
            state_->arena = static_cast<char*>(arena->data());
        } else {
            state_->own_arena = Buffer(bytes);
            state_->arena = static_cast<char*>(state_->own_arena.data());
        }
    }
    state_->prepare();
}

Executor::~Executor() = default;

void Executor::bind(const std::string& name, void* data) {
    auto it = state_->names.find(name);
    STEPD_CHECK(it != state_->names.end(), "there is no parameter, input or output ", name);
    STEPD_CHECK(data, name, " is bound to null");
    state_->bound[size_t(it->second)] = data;
    for (Tensor* tensor : state_->users[size_t(it->second)]) tensor->data = data;
}

bool Executor::has(const std::string& name) const { return state_->names.count(name) != 0; }

const Value& Executor::value(const std::string& name) const {
    auto it = state_->names.find(name);
    STEPD_CHECK(it != state_->names.end(), "there is no parameter, input or output ", name);
    return state_->plan.graph.value(it->second);
}

void Executor::run() {
    state_->start();
    for (const State::Call& call : state_->calls) state_->execute(call);
}

bool Executor::run_while(const std::function<bool()>& go_on) {
    state_->start();
    for (const State::Call& call : state_->calls) {
        if (!go_on()) return false;
        state_->execute(call);
    }
    return true;
}

const Plan& Executor::plan() const { return state_->plan; }

std::vector<NodeTime> Executor::profile() {
    using Clock = std::chrono::steady_clock;
    std::vector<NodeTime> times;
    times.reserve(state_->calls.size());
    state_->start();
    for (const State::Call& call : state_->calls) {
        Clock::time_point begin = Clock::now();
        state_->execute(call);
        double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
        Cost cost = cost_of(state_->plan.graph, state_->plan.graph.nodes[size_t(call.node)]);
        times.push_back({call.node, seconds, cost.flop, cost.bytes});
    }
    return times;
}

void Executor::set_poison(bool on) { state_->poison = on; }

}  // namespace stepd

// Runs a graph on the CPU backend with random parameters and inputs, for the tests of the graph core.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "backend/cpu.h"
#include "graph/executor.h"
#include "graph/rewrite.h"
#include "tests/kernel_harness.h"

namespace stepd::test {

using Tensors = std::map<std::string, HostTensor>;

struct RunOptions {
    int threads = 2;
    bool rewrites = false;
    bool poison = true;
    int64_t arena_budget = -1;
};

// The same tensor for the same name and shape: standard normal, weights scaled by 1/sqrt(fan-in), indices below 4.
inline HostTensor named_tensor(const Value& v) {
    if (v.name == "seed" || v.name == "weight" || v.name == "c")
        return HostTensor(v.shape, v.dtype, std::vector<double>(size_t(numel(v.shape)), 1.0));
    auto seed = uint32_t(std::hash<std::string>{}(v.name));
    double deviation = v.role == Role::parameter ? 1 / std::sqrt(double(v.shape.back())) : 1.0;
    HostTensor t = random_tensor(v.shape, v.dtype, seed, deviation);
    if (v.dtype == DType::i32) {
        std::mt19937 generator(seed);
        for (size_t i = 0; i < t.size(); ++i) t.set(i, double(generator() % 4));
    }
    return t;
}

// Parameters and inputs of a graph.
inline Tensors named_tensors(const Graph& g) {
    Tensors all;
    for (const Value& v : g.values) {
        if (v.role == Role::parameter || v.role == Role::input) all.emplace(v.name, named_tensor(v));
    }
    return all;
}

// A plan that is bound to its tensors.
class Runner {
public:
    Runner(Graph graph, Tensors tensors, const RunOptions& options = {})
        : tensors_(std::move(tensors)), backend_(make_cpu_backend(options.threads)) {
        if (options.rewrites) rewrite(graph);
        executor_.emplace(make_plan(std::move(graph), {options.arena_budget}), *backend_);
        executor_->set_poison(options.poison);
        for (const Value& v : executor_->plan().graph.values) {
            if (v.role == Role::output) outputs_.emplace(v.name, HostTensor(v.shape, v.dtype));
            if (v.role == Role::parameter || v.role == Role::input)
                executor_->bind(v.name, tensors_.at(v.name).view().data);
        }
        for (auto& [name, tensor] : outputs_) executor_->bind(name, tensor.view().data);
    }

    const Tensors& run() {
        executor_->run();
        for (const auto& [name, tensor] : outputs_) EXPECT_TRUE(tensor.guard_intact()) << name;
        return outputs_;
    }
    HostTensor& tensor(const std::string& name) { return tensors_.at(name); }
    const Tensors& tensors() const { return tensors_; }
    Executor& executor() { return *executor_; }

private:
    Tensors tensors_, outputs_;
    std::unique_ptr<Backend> backend_;
    std::optional<Executor> executor_;
};

inline Tensors run_graph(const Graph& g, const RunOptions& options = {}) {
    return Runner(g, named_tensors(g), options).run();
}

inline void expect_same_bits(const Tensors& a, const Tensors& b) {
    ASSERT_EQ(a.size(), b.size());
    for (const auto& [name, tensor] : a) EXPECT_TRUE(tensor.same_bits(b.at(name))) << name;
}

inline double largest(const HostTensor& t) {
    double found = 0;
    for (size_t i = 0; i < t.size(); ++i) found = std::max(found, std::abs(t.at(i)));
    return found;
}

// Relative to the largest element of each tensor, or to 1 % of the largest of all: some gradients are nothing but
// rounding, such as that of a key's bias, which softmax does not see.
inline void expect_near(const Tensors& got, const Tensors& want, double tolerance) {
    ASSERT_EQ(got.size(), want.size());
    double floor = 0;
    for (const auto& [name, tensor] : want) floor = std::max(floor, 0.01 * largest(tensor));
    for (const auto& [name, tensor] : want) {
        double error = 0;
        for (size_t i = 0; i < tensor.size(); ++i) {
            double difference = std::abs(got.at(name).at(i) - tensor.at(i));
            error = std::isfinite(difference) ? std::max(error, difference) : INFINITY;
        }
        EXPECT_LE(error, tolerance * std::max(floor, largest(tensor))) << name;
    }
}

}  // namespace stepd::test

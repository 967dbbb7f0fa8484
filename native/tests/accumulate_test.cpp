// Gradient accumulation as part of the graph.
#include <gtest/gtest.h>

#include "graph/accumulate.h"
#include "graph/autodiff.h"
#include "graph/plan.h"
#include "tests/graph_runner.h"
#include "tests/transformer_block.h"

namespace stepd {
namespace {

using namespace test;

Graph two_layers() {
    Graph g;
    Builder b(g, DType::f32, [](const std::string&) { return ParameterInfo{DType::f32, true}; });
    ValueId h = b.gelu(b.linear(b.input("x", {1, 6, 40}, DType::f32), b.weight("v", {300, 40}), b.weight("c", {300})));
    ValueId y = b.linear(h, b.weight("w", {40, 300}), b.weight("b", {40}));
    ValueId one = b.input("weight", {1}, DType::f32);
    ValueId loss = b.op("diffusion_loss", {y, b.input("t", {1, 6, 40}, DType::f32), one, one}, {{"kind", 0}});
    differentiate(g, loss, b.input("seed", {1}, DType::f32));
    rewrite(g);
    return g;
}

TEST(Accumulate, AddsToWhatIsThereInPlace) {
    const Graph plain = two_layers();
    Graph adding = plain;
    EXPECT_EQ(accumulate_gradients(adding), 4);
    for (int threads : {1, 3}) {
        RunOptions options;
        options.threads = threads;
        const Tensors gradients = run_graph(plain, options);
        auto backend = make_cpu_backend(threads);
        Executor executor(make_plan(adding), *backend);
        executor.set_poison(true);
        Tensors inputs = named_tensors(plain), sums;
        for (const Value& v : executor.plan().graph.values) {
            if (v.role != Role::output) continue;
            sums.emplace(v.name, random_tensor(v.shape, DType::f32, 9));
            executor.bind(v.name, sums.at(v.name).view().data);
            if (executor.has(earlier_name(v.name)))
                executor.bind(earlier_name(v.name), sums.at(v.name).view().data);  // one set of memory
        }
        for (auto& [name, tensor] : inputs) executor.bind(name, tensor.view().data);
        const Tensors before = sums;
        executor.run();
        for (const auto& [name, sum] : sums) {
            if (!name.starts_with("grad.")) continue;
            for (size_t i = 0; i < sum.size(); i++)
                ASSERT_EQ(float(sum.at(i)), float(before.at(name).at(i)) + float(gradients.at(name).at(i))) << name;
        }
    }
}

// Each contribution is added as soon as it is there: the arena grows by the largest gradient, not by all of them.
TEST(Accumulate, HoldsOneContributionAtATime) {
    Graph g = two_layers();
    const int64_t plain = make_plan(g).report.arena_bytes;
    accumulate_gradients(g);
    EXPECT_LE(make_plan(g).report.arena_bytes, plain + 300 * 41 * 4 + 4096);
}

}  // namespace
}  // namespace stepd

#include "graph/executor.h"

#include <gtest/gtest.h>

#include "tests/graph_runner.h"
#include "tests/transformer_block.h"

namespace stepd {
namespace {

using namespace test;

Graph training_graph(DType compute) {
    Graph g;
    BlockConfig config;
    config.compute = compute;
    record_training(g, config);
    return g;
}

TEST(ExecutorTest, ReplaysAreBitEqualUnderAnyNumberOfThreads) {
    for (DType compute : {DType::f32, DType::bf16}) {
        Graph g = training_graph(compute);
        RunOptions options;
        options.rewrites = true;
        options.threads = 1;
        Tensors first = run_graph(g, options);
        for (int threads : {2, 5}) {
            options.threads = threads;
            Runner runner(g, named_tensors(g), options);
            expect_same_bits(runner.run(), first);
            expect_same_bits(runner.run(), first);
        }
    }
}

TEST(ExecutorTest, PoisonDoesNotReachTheOutputs) {
    Graph g = training_graph(DType::f32);
    for (bool rewrites : {false, true}) {
        RunOptions options;
        options.rewrites = rewrites;
        Tensors poisoned = run_graph(g, options);
        options.poison = false;
        expect_same_bits(run_graph(g, options), poisoned);
        for (const auto& [name, tensor] : poisoned) {
            for (size_t i = 0; i < tensor.size(); ++i) ASSERT_TRUE(std::isfinite(tensor.at(i))) << name;
        }
    }
}

TEST(ExecutorTest, PoisonFindsReadsOfDeadMemory) {
    Graph g;
    Builder b(g, DType::f32);
    ValueId x = b.input("x", {4, 4}, DType::f32);
    ValueId h = b.scale(x, 2);
    ValueId first = b.op("sum_leading", {h}, {{"rank", 1}});
    b.output("a", b.scale(first, 1));
    b.output("late", b.op("sum_leading", {h}, {{"rank", 1}}));
    Plan plan = make_plan(g);
    std::swap(plan.released[1], plan.released.back());  // a plan that frees h one reader too early
    auto backend = make_cpu_backend(1);
    Executor executor(plan, *backend);
    HostTensor in = named_tensor(g.value(x)), a({4}, DType::f32), late({4}, DType::f32);
    executor.bind("x", in.view().data);
    executor.bind("a", a.view().data);
    executor.bind("late", late.view().data);
    executor.set_poison(true);
    executor.run();
    EXPECT_TRUE(std::isnan(late.at(0)));
}

TEST(ExecutorTest, CopiesWhereAnAliasCannotShare) {
    Graph g;
    Builder b(g, DType::f32);
    ValueId x = b.input("x", {2, 6}, DType::f32);
    b.output("flat", b.reshape(x, {12}));
    ValueId y = b.output("y", b.scale(x, 2));
    b.output("y_flat", b.reshape(y, {12}));
    Tensors in = named_tensors(g), out = run_graph(g);
    for (size_t i = 0; i < 12; ++i) {
        EXPECT_EQ(out.at("flat").at(i), in.at("x").at(i));
        EXPECT_EQ(out.at("y_flat").at(i), 2 * in.at("x").at(i));
    }
}

TEST(ExecutorTest, ParametersInputsAndOutputsMustBeBound) {
    Graph g;
    Builder b(g, DType::f32);
    b.output("y", b.linear(b.input("x", {2, 4}, DType::f32), b.parameter("w", {3, 4})));
    auto backend = make_cpu_backend(1);
    Executor executor(make_plan(g), *backend);
    EXPECT_TRUE(executor.has("w"));
    EXPECT_FALSE(executor.has("v"));
    EXPECT_EQ(executor.value("y").shape, (Shape{2, 3}));
    EXPECT_THROW(executor.value("v"), Error);
    float memory[16] = {};
    EXPECT_THROW(executor.bind("v", memory), Error);
    EXPECT_THROW(executor.bind("x", nullptr), Error);
    executor.bind("x", memory);
    executor.bind("y", memory);
    try {
        executor.run();
        FAIL() << "w is not bound";
    } catch (const Error& e) {
        EXPECT_EQ(e.code(), Code::internal);
        EXPECT_STREQ(e.what(), "w is not bound");
    }
}

TEST(ExecutorTest, PlansShareABorrowedArena) {
    Graph g = training_graph(DType::f32);
    Plan plan = make_plan(g);
    Buffer arena(size_t(plan.report.arena_bytes));
    auto backend = make_cpu_backend(1);
    EXPECT_NO_THROW(Executor(plan, *backend, &arena));
    Buffer small(size_t(plan.report.arena_bytes) - 1);
    EXPECT_THROW(Executor(plan, *backend, &small), Error);
}

TEST(ExecutorTest, BuffersAreZeroAndSayWhatTheyCouldNotGet) {
    Buffer buffer(1 << 20);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % 64, 0u);
    const char* bytes = static_cast<const char*>(buffer.data());
    EXPECT_TRUE(std::all_of(bytes, bytes + buffer.size(), [](char c) { return c == 0; }));
    Buffer moved = std::move(buffer);
    EXPECT_EQ(moved.data(), bytes);
    EXPECT_EQ(buffer.data(), nullptr);
    try {
        Buffer huge(size_t(1) << 62);
        FAIL() << "no machine has that much memory";
    } catch (const Error& e) {
        EXPECT_EQ(e.code(), Code::out_of_memory);
        EXPECT_NE(std::string(e.what()).find("4611686018427387904 bytes"), std::string::npos);
    }
}

TEST(ExecutorTest, ProfileNamesEveryNode) {
    Graph g = training_graph(DType::f32);
    Runner runner(g, named_tensors(g));
    std::vector<NodeTime> times = runner.executor().profile();
    const Plan& plan = runner.executor().plan();
    double flop = 0;
    for (const NodeTime& t : times) {
        EXPECT_GE(t.seconds, 0);
        flop += t.flop;
    }
    EXPECT_EQ(flop, plan.report.flop);
    std::string text = print_profile(plan, times);
    for (const char* word : {"linear_dw", "attention_bwd", "total", "GFLOP/s"}) {
        EXPECT_NE(text.find(word), std::string::npos) << word;
    }
}

TEST(NullBackendTest, PlansWithoutMemoryAndDoesNotRun) {
    Graph g;
    BlockConfig config;
    config.dim = 3072;
    config.heads = 24;
    config.height = config.width = 128;
    config.layers = 57;
    record_training(g, config);
    auto backend = make_null_backend();
    Executor executor(make_plan(std::move(g)), *backend);
    EXPECT_GT(executor.plan().report.arena_bytes, int64_t(10) << 30);
    for (const Op* op : all_ops()) EXPECT_NE(backend->find(op->name), nullptr);
    EXPECT_EQ(backend->find("no_such_op"), nullptr);
    EXPECT_THROW(executor.run(), Error);
}

// A backend without any kernel.
class EmptyBackend final : public Backend {
public:
    const char* name() const override { return "empty"; }
    Kernel find(const std::string&) const override { return nullptr; }
    Pool* pool() override { return nullptr; }
};

TEST(ExecutorTest, AMissingKernelIsNamed) {
    EmptyBackend backend;
    try {
        Executor executor(make_plan(training_graph(DType::f32)), backend);
        FAIL() << "the backend has no kernels";
    } catch (const Error& e) {
        EXPECT_EQ(e.code(), Code::unsupported);
        EXPECT_STREQ(e.what(), "the empty backend lacks the op patchify");
    }
}

}  // namespace
}  // namespace stepd

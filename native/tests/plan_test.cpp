#include "graph/plan.h"

#include <gtest/gtest.h>

#include "graph/rewrite.h"
#include "graph/storage.h"
#include "tests/graph_runner.h"
#include "tests/transformer_block.h"

namespace stepd {
namespace {

using namespace test;

Graph training_graph(const BlockConfig& config) {
    Graph g;
    record_training(g, config);
    rewrite(g);
    return g;
}

// PixArt Sigma of 900 million parameters at 1024 pixels, batch 2.
BlockConfig pixart_900m() {
    BlockConfig c;
    c.batch = 2;
    c.height = c.width = 128;
    c.text = 300;
    c.dim = 1152;
    c.heads = 16;
    c.layers = 42;
    c.compute = c.stored = DType::bf16;
    return c;
}

void expect_no_overlap(const Plan& plan) {
    std::vector<Block> blocks = lifetimes(plan.graph, plan.storage);
    for (Block& b : blocks) b.offset = plan.offsets[size_t(b.storage)];
    for (const Block& a : blocks) {
        ASSERT_GE(a.offset, 0);
        EXPECT_EQ(a.offset % 64, 0);
        EXPECT_LE(a.offset + a.bytes, plan.report.arena_bytes);
        for (const Block& b : blocks) {
            if (&a == &b || a.last < b.first || b.last < a.first) continue;
            EXPECT_TRUE(a.offset + a.bytes <= b.offset || b.offset + b.bytes <= a.offset)
                << a.storage << " and " << b.storage << " live at the same time and overlap";
        }
    }
}

int64_t peak_of_live_bytes(const Plan& plan) {
    std::vector<int64_t> live(plan.graph.nodes.size());
    for (const Block& b : lifetimes(plan.graph, plan.storage)) {
        for (int i = b.first; i <= b.last; ++i) live[size_t(i)] += b.bytes;
    }
    return *std::max_element(live.begin(), live.end());
}

TEST(PlanTest, ValuesThatLiveTogetherDoNotOverlap) {
    for (int64_t budget : {-1, 0}) {
        Plan plan = make_plan(training_graph({}), {budget});
        expect_no_overlap(plan);
    }
}

TEST(PlanTest, PlacementIsCloseToThePeakOfLiveBytes) {
    Graph g = training_graph(pixart_900m());
    for (int64_t budget : {int64_t(-1), int64_t(4) << 30, int64_t(0)}) {
        Plan plan = make_plan(g, {budget});
        EXPECT_LE(double(plan.report.arena_bytes), 1.02 * double(peak_of_live_bytes(plan)));
    }
}

TEST(PlanTest, SharesMemoryInPlaceAndThroughReshape) {
    Graph g;
    Builder b(g, DType::f32);
    ValueId x = b.input("x", {2, 6}, DType::f32);
    ValueId h = b.scale(x, 2);
    ValueId reshaped = b.reshape(h, {3, 4});
    ValueId y = b.silu(reshaped);
    ValueId z = b.add(y, y);
    ValueId flat = b.reshape(z, {12});
    b.output("out", b.scale(flat, 3));
    Plan plan = make_plan(g);
    EXPECT_EQ(plan.report.arena_bytes, 64) << "one buffer of 48 bytes for the whole chain";
    for (ValueId v : {reshaped, y, z, flat}) EXPECT_EQ(plan.storage[size_t(v)], h);
    EXPECT_EQ(plan.offsets[size_t(x)], -1);
}

TEST(PlanTest, AReshapedOutputIsMadeInPlace) {
    Graph g;
    Builder b(g, DType::f32);
    ValueId h = b.scale(b.input("x", {2, 6}, DType::f32), 2);
    ValueId out = b.output("out", b.reshape(h, {12}));
    Plan plan = make_plan(g);
    EXPECT_EQ(plan.storage[size_t(h)], out);
    EXPECT_EQ(plan.report.arena_bytes, 0);
}

TEST(PlanTest, AMatrixProductNeverOverwritesItsOwnInput) {
    Graph g;
    Builder b(g, DType::f32);
    ValueId dy = b.scale(b.input("x", {2, 4}, DType::f32), 2);
    ValueId dx = b.op("linear_dx", {dy, b.parameter("w", {4, 4}), dy});
    b.output("out", b.scale(dx, 1));
    Plan plan = make_plan(g);
    EXPECT_NE(plan.storage[size_t(dx)], plan.storage[size_t(dy)]);
}

TEST(PlanTest, RecomputesUntilTheBudgetIsMet) {
    Graph g = training_graph(pixart_900m());
    Plan full = make_plan(g);
    EXPECT_EQ(full.report.recomputed_nodes, 0);
    double previous = 0;
    for (double share : {0.75, 0.5, 0.25, 0.125}) {
        auto budget = int64_t(share * double(full.report.arena_bytes));
        Plan plan = make_plan(g, {budget});
        EXPECT_LE(plan.report.arena_bytes, budget);
        EXPECT_GT(plan.report.arena_bytes, budget / 2) << "recomputes more than was asked for";
        EXPECT_GT(plan.report.recomputed_flop, previous);
        EXPECT_DOUBLE_EQ(plan.report.flop, full.report.flop + plan.report.recomputed_flop);
        previous = plan.report.recomputed_flop;
    }
    EXPECT_LT(previous, 0.3 * full.report.flop) << "no more than about one more forward pass";
    Plan smallest = make_plan(g, {0});
    EXPECT_LT(smallest.report.arena_bytes, full.report.arena_bytes / 8);
    expect_no_overlap(smallest);
}

TEST(PlanTest, TheFirstBytesCostAlmostNothing) {
    Graph g = training_graph(pixart_900m());
    Plan full = make_plan(g);
    Plan plan = make_plan(g, {full.report.arena_bytes * 8 / 10});
    EXPECT_LT(plan.report.recomputed_flop, 0.01 * full.report.flop) << "norms and activations come before products";
}

TEST(PlanTest, IsDeterministic) {
    Graph g = training_graph({});
    Plan a = make_plan(g, {0}), b = make_plan(g, {0});
    EXPECT_EQ(print(a.graph), print(b.graph));
    EXPECT_EQ(a.offsets, b.offsets);
}

TEST(PlanTest, RecomputedRunsAreBitIdentical) {
    for (DType compute : {DType::f32, DType::bf16}) {
        BlockConfig config;
        config.compute = compute;
        config.dim = 24;
        Graph g;
        record_training(g, config);
        RunOptions options;
        options.rewrites = true;
        Tensors kept = run_graph(g, options);
        int64_t full = make_plan(training_graph(config)).report.arena_bytes;
        for (int64_t budget : {full * 3 / 4, full / 2, int64_t(0)}) {
            options.arena_budget = budget;
            Runner runner(g, named_tensors(g), options);
            EXPECT_GT(runner.executor().plan().report.recomputed_nodes, 0);
            expect_same_bits(runner.run(), kept);
        }
    }
}

TEST(PlanTest, ReportsExactBytesByKind) {
    BlockConfig config;
    config.stored = DType::bf16;
    Graph g = training_graph(config);
    PlanReport report = make_plan(g).report;
    int64_t parameters = 0;
    for (const Value& v : g.values) {
        if (v.role == Role::parameter) parameters += numel(v.shape);
    }
    EXPECT_EQ(report.parameter_bytes, 2 * parameters);
    EXPECT_EQ(report.gradient_bytes, 4 * parameters);
    EXPECT_EQ(report.output_bytes, 4 * (2 * 4 * 6 * 4 + 1 + 2));
    EXPECT_NE(print(report).find("gradients"), std::string::npos);
}

}  // namespace
}  // namespace stepd

#include "graph/rewrite.h"

#include <gtest/gtest.h>

#include "tests/graph_runner.h"
#include "tests/transformer_block.h"

namespace stepd {
namespace {

using namespace test;

int apply(Graph& g, const std::string& name) {
    for (const Rewrite& pass : all_rewrites()) {
        if (name == pass.name) return pass.run(g);
    }
    ADD_FAILURE() << "there is no rewrite " << name;
    return 0;
}

Graph training_graph(DType compute = DType::f32) {
    Graph g;
    BlockConfig config;
    config.compute = compute;
    record_training(g, config);
    return g;
}

struct Expectation {
    const char* pass;
    int fired;       // on two transformer blocks, forward and backward
    const char* op;  // what takes the place of the pattern
    int count;       // how many of these there are afterwards
};

class RewriteTest : public testing::TestWithParam<Expectation> {};

TEST_P(RewriteTest, FiresOnATransformerAndKeepsItsValues) {
    Graph g = training_graph(), plain = g;
    EXPECT_EQ(apply(g, GetParam().pass), GetParam().fired);
    EXPECT_EQ(count_nodes(g, GetParam().op), GetParam().count);
    EXPECT_EQ(g.nodes.size() + size_t(GetParam().fired), plain.nodes.size());
    expect_near(run_graph(g), run_graph(plain), 2e-5);
}

INSTANTIATE_TEST_SUITE_P(Passes, RewriteTest,
                         testing::Values(Expectation{"fuse_linear_gelu", 2, "linear_gelu", 2},
                                         Expectation{"fuse_linear_gate_residual", 4, "linear_gate_residual", 4},
                                         Expectation{"fuse_linear_add", 2, "linear_gate_residual", 2},
                                         Expectation{"fuse_linear_dx_gelu", 2, "linear_dx_gelu", 2},
                                         // per block: q, k and v of self-attention, the query of cross-attention
                                         Expectation{"fuse_linear_dx_add", 6, "linear_dx", 18},
                                         Expectation{"fuse_norm_modulate_bwd_add", 4, "norm_modulate_bwd", 4}),
                         [](const auto& info) { return std::string(info.param.pass); });

TEST(RewriteTest, AllPassesTogetherKeepTheValues) {
    for (DType compute : {DType::f32, DType::bf16}) {
        Graph g = training_graph(compute), plain = g;
        EXPECT_EQ(rewrite(g), 20);
        EXPECT_EQ(rewrite(g), 0) << "nothing is left to do";
        expect_near(run_graph(g), run_graph(plain), compute == DType::f32 ? 2e-5 : 4e-2);
    }
}

TEST(RewriteTest, AdapterUpProjectionGoesIntoOneProduct) {
    Graph g;
    Builder b(g, DType::f32, [](const std::string& name) { return ParameterInfo{DType::f32, name != "w"}; });
    ValueId x = b.input("x", {2, 5, 8}, DType::f32);
    ValueId base = b.linear(x, b.parameter("w", {6, 8}));
    ValueId down = b.scale(b.linear(x, b.parameter("A", {3, 8})), 0.5);
    ValueId y = b.add(base, b.linear(down, b.parameter("B", {6, 3})));
    ValueId target = b.input("target", {2, 5, 6}, DType::f32), weight = b.input("weight", {2}, DType::f32);
    ValueId loss = b.op("diffusion_loss", {y, target, weight, weight}, {{"kind", 0}});
    EXPECT_EQ(differentiate(g, loss, b.input("seed", {1}, DType::f32)), 2);
    Graph plain = g;
    EXPECT_EQ(apply(g, "fuse_linear_add"), 1);
    expect_near(run_graph(g), run_graph(plain), 2e-5);
}

TEST(RewriteTest, CommonNodesAreMerged) {
    Graph g;
    Builder b(g, DType::bf16);
    ValueId x = b.input("x", {2, 4}, DType::f32);
    ValueId first = b.silu(b.cast(x, DType::bf16)), second = b.silu(b.cast(x, DType::bf16));
    b.output("y", b.add(first, b.scale(second, 2)));
    b.output("z", b.silu(b.cast(x, DType::bf16)));
    Tensors before = run_graph(g);
    EXPECT_EQ(apply(g, "merge_common_nodes"), 3) << "an output keeps its node";
    EXPECT_EQ(count_nodes(g, "cast"), 1);
    EXPECT_EQ(count_nodes(g, "silu"), 2);
    expect_same_bits(run_graph(g), before);
}

TEST(RewriteTest, DeadCodeGoes) {
    Graph g;
    Builder b(g, DType::f32);
    ValueId x = b.input("x", {2, 4}, DType::f32);
    b.gelu(b.scale(x, 3));
    b.output("y", b.silu(x));
    EXPECT_EQ(apply(g, "remove_dead_code"), 2);
    ASSERT_EQ(g.nodes.size(), 1u);
    EXPECT_EQ(g.value(g.find("y")).producer, 0);
}

TEST(RewriteTest, ForwardGraphsDropWhatOnlyBackwardReads) {
    Graph g;
    record(g, {});
    Graph plain = g;
    rewrite(g);
    ASSERT_EQ(count_nodes(g, "linear_gelu"), 2);
    ASSERT_EQ(count_nodes(g, "linear_gate_residual"), 6);
    for (const Node& n : g.nodes) {
        std::string name = n.op->name;
        if (name != "linear_gelu" && name != "linear_gate_residual") continue;
        EXPECT_EQ(n.outputs[1], kNone);
    }
    expect_near(run_graph(g), run_graph(plain), 2e-5);
}

TEST(RewriteTest, AValueReadTwiceIsNotFusedAway) {
    Graph g;
    Builder b(g, DType::f32, [](const std::string&) { return ParameterInfo{DType::f32, true}; });
    ValueId x = b.input("x", {1, 4, 4}, DType::f32);
    ValueId gate = b.input("gate", {1, 4}, DType::f32);
    ValueId y = b.linear(x, b.parameter("w", {4, 4}));
    ValueId early = b.silu(y);
    b.output("out", b.gate_residual(early, gate, y));
    EXPECT_EQ(apply(g, "fuse_linear_gate_residual"), 0) << "silu reads the product before the residual is there";
    b.output("one", b.gelu(y));
    b.output("two", b.scale(b.gelu(y), 2));
    EXPECT_EQ(apply(g, "fuse_linear_gelu"), 0);
}

}  // namespace
}  // namespace stepd

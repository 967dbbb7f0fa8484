#include "graph/graph.h"

#include <gtest/gtest.h>

#include "ops/op.h"
#include "tests/transformer_block.h"

namespace stepd {
namespace {

std::string refusal(const std::function<void()>& call) {
    try {
        call();
    } catch (const Error& e) {
        return e.what();
    }
    return "";
}

TEST(GraphTest, EveryOpIsFoundByItsName) {
    EXPECT_GE(all_ops().size(), 38u);
    for (const Op* op : all_ops()) EXPECT_EQ(find_op(op->name), op);
    EXPECT_EQ(find_op("no_such_op"), nullptr);
}

TEST(GraphTest, RefusalsNameOpArgumentsAndReason) {
    Graph g;
    Builder b(g, DType::f32);
    ValueId x = b.input("x", {2, 3, 8}, DType::f32);
    ValueId w = b.parameter("proj.weight", {4, 9});
    EXPECT_EQ(refusal([&] { b.linear(x, w); }),
              "linear(x f32[2, 3, 8], proj.weight f32[4, 9], -): x has 8 features, w takes 9");
    EXPECT_NE(refusal([&] { b.add(x, w); }).find("suffix"), std::string::npos);
    EXPECT_NE(refusal([&] { b.slice(x, 1, 2, 2); }).find("length"), std::string::npos);
    EXPECT_NE(refusal([&] { b.split(x, 2, 3); }).find("3 parts"), std::string::npos);
    EXPECT_NE(refusal([&] { b.split(x, 3, 3); }).find("axis 3"), std::string::npos);
    EXPECT_NE(refusal([&] { b.attention(x, x, x, 3, 1.0); }).find("3 heads"), std::string::npos);
    EXPECT_NE(refusal([&] { b.input("none", {0, 4}, DType::f32); }).find("[0, 4]"), std::string::npos);
    EXPECT_NE(refusal([&] { b.parameter("proj.weight", {4, 8}); }).find("[4, 8]"), std::string::npos);
    EXPECT_NE(refusal([&] { b.op("no_such_op", {x}); }).find("no_such_op"), std::string::npos);
    EXPECT_TRUE(g.nodes.empty()) << "a refused op leaves the graph as it was";
}

TEST(GraphTest, ParametersAreSharedByNameAndCastOnce) {
    Graph g;
    Builder b(g, DType::bf16, [](const std::string&) { return ParameterInfo{DType::f32, true}; });
    ValueId w = b.parameter("w", {4, 4});
    EXPECT_EQ(b.parameter("w", {4, 4}), w);
    EXPECT_EQ(b.dtype(w), DType::f32);
    ValueId cast = b.weight("w", {4, 4});
    EXPECT_EQ(b.dtype(cast), DType::bf16);
    EXPECT_EQ(b.weight("w", {4, 4}), cast);
    EXPECT_EQ(g.nodes.size(), 1u);
}

TEST(GraphTest, AnOutputOfANamedValueIsACopy) {
    Graph g;
    Builder b(g, DType::f32);
    ValueId x = b.input("x", {3}, DType::f32);
    ValueId y = b.output("y", b.scale(x, 2));
    ValueId z = b.output("z", y);
    EXPECT_NE(y, z);
    EXPECT_EQ(g.value(b.output("w", x)).producer, 2);
    EXPECT_THROW(b.output("y", b.scale(x, 3)), Error);
}

TEST(GraphTest, SplitAndStackShapes) {
    Graph g;
    Builder b(g, DType::f32);
    ValueId x = b.input("x", {2, 6, 8}, DType::f32);
    EXPECT_EQ(b.shape(b.split(x, 1, 6)[5]), (Shape{2, 8}));
    EXPECT_EQ(b.shape(b.split(x, -1, 2)[1]), (Shape{2, 6, 4}));
    ValueId part = b.split(x, 1, 6)[0];
    EXPECT_EQ(b.shape(b.op("stack", {kNone, part, part}, {{"axis", 1}, {"squeeze", 1}})), (Shape{2, 3, 8}));
    EXPECT_EQ(b.shape(b.op("stack", {part, part}, {{"axis", 1}, {"squeeze", 0}})), (Shape{2, 16}));
    EXPECT_THROW(b.op("stack", {kNone}, {{"axis", 0}, {"squeeze", 1}}), Error);
}

TEST(GraphTest, PrintsAsTextAndGraphviz) {
    Graph g;
    Builder b(g, DType::f32);
    ValueId x = b.input("x", {2, 8}, DType::f32);
    b.output("y", b.gelu(b.linear(x, b.parameter("w", {4, 8}))));
    EXPECT_EQ(print(g),
              "input x f32[2, 8]\n"
              "frozen w f32[4, 8]\n"
              "> %2 f32[2, 4] = linear(x, w, -)\n"
              "> y f32[2, 4] = gelu(%2)\n");
    std::string dot = graphviz(g);
    EXPECT_NE(dot.find("n0 -> n1"), std::string::npos);
    EXPECT_NE(dot.find("v0 -> n0"), std::string::npos);
    EXPECT_NE(dot.find("n1 -> v3"), std::string::npos);
}

TEST(GraphTest, CostCountsMultiplyAndAdd) {
    Graph g;
    Builder b(g, DType::f32);
    ValueId x = b.input("x", {2, 3, 8}, DType::f32);
    b.linear(x, b.parameter("w", {4, 8}));
    Cost cost = cost_of(g, g.nodes[0]);
    EXPECT_EQ(cost.flop, 2 * 6 * 4 * 8 + 6 * 4);
    EXPECT_EQ(cost.bytes, 4 * (48 + 32 + 24));
    b.reshape(x, {6, 8});
    EXPECT_EQ(cost_of(g, g.nodes[1]).bytes, 0);
}

}  // namespace
}  // namespace stepd

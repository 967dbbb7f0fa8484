#include "graph/autodiff.h"

#include <gtest/gtest.h>

#include <set>

#include "ops/op.h"
#include "tests/transformer_block.h"

namespace stepd {
namespace {

using test::BlockConfig;
using test::count_nodes;

std::set<std::string> outputs(const Graph& g) {
    std::set<std::string> names;
    for (const Value& v : g.values) {
        if (v.role == Role::output) names.insert(v.name);
    }
    return names;
}

TEST(AutodiffTest, EveryTrainableParameterGetsAnF32Gradient) {
    for (DType stored : {DType::f32, DType::bf16}) {
        for (DType compute : {DType::f32, DType::bf16}) {
            Graph g;
            BlockConfig config;
            config.stored = stored;
            config.compute = compute;
            int count = test::record_training(g, config);
            int parameters = 0;
            for (const Value& v : std::vector<Value>(g.values)) {
                if (v.role != Role::parameter) continue;
                ++parameters;
                ValueId gradient = g.find(gradient_name(v.name));
                ASSERT_NE(gradient, kNone) << v.name;
                EXPECT_EQ(g.value(gradient).dtype, DType::f32);
                EXPECT_EQ(g.value(gradient).shape, v.shape);
                EXPECT_EQ(g.value(gradient).role, Role::output);
            }
            EXPECT_EQ(count, parameters);
        }
    }
}

TEST(AutodiffTest, GradientsOfMastersAreNotRoundedToTheComputeType) {
    Graph g;
    BlockConfig config;
    config.compute = DType::bf16;  // masters are f32
    test::record_training(g, config);
    for (const Value& v : g.values) {
        if (!v.name.starts_with("grad.")) continue;
        const Node& maker = g.nodes[size_t(v.producer)];
        EXPECT_STRNE(maker.op->name, "cast") << v.name;
    }
}

TEST(AutodiffTest, ActivationGradientsHaveTheTypeOfTheActivation) {
    Graph g;
    BlockConfig config;
    config.compute = DType::bf16;
    test::record_training(g, config);
    for (const Node& n : g.nodes) {
        if (std::string(n.op->name) == "linear_dx" && g.value(n.outputs[0]).shape.size() == 3) {
            EXPECT_EQ(g.value(n.outputs[0]).dtype, DType::bf16);
        }
    }
}

TEST(AutodiffTest, FrozenPartsGetNoGradientNodes) {
    Graph g;
    Builder b(g, DType::f32, [](const std::string& name) { return ParameterInfo{DType::f32, name == "late"}; });
    ValueId x = b.input("x", {2, 4, 4}, DType::f32);
    ValueId target = b.input("target", {2, 4, 4}, DType::f32);
    ValueId weight = b.input("weight", {2}, DType::f32);
    ValueId h = b.gelu(b.linear(x, b.parameter("early", {4, 4}), b.parameter("early_bias", {4})));
    ValueId y = b.linear(b.linear(h, b.parameter("late", {4, 4})), b.parameter("after", {4, 4}));
    ValueId loss = b.op("diffusion_loss", {y, target, weight, weight}, {{"kind", 0}});
    size_t forward = g.nodes.size();
    EXPECT_EQ(differentiate(g, loss, b.input("seed", {1}, DType::f32)), 1);
    EXPECT_EQ(outputs(g), std::set<std::string>{"grad.late"});
    EXPECT_EQ(count_nodes(g, "linear_dx"), 1) << "only through `after`";
    EXPECT_EQ(count_nodes(g, "linear_dw"), 1);
    EXPECT_EQ(count_nodes(g, "gelu_bwd"), 0);
    for (size_t i = 0; i < g.nodes.size(); ++i) EXPECT_EQ(g.nodes[i].backward, i >= forward);
}

TEST(AutodiffTest, NothingTrainableMeansNoBackward) {
    Graph g;
    BlockConfig config;
    config.trains = false;
    ValueId loss = test::record(g, config);
    size_t nodes = g.nodes.size();
    EXPECT_EQ(differentiate(g, loss, Builder(g, DType::f32).input("seed", {1}, DType::f32)), 0);
    EXPECT_EQ(g.nodes.size(), nodes);
}

TEST(AutodiffTest, OpsWithoutAProductAreNamed) {
    Graph g;
    Builder b(g, DType::f32, [](const std::string&) { return ParameterInfo{DType::f32, true}; });
    ValueId x = b.linear(b.input("x", {2, 4}, DType::f32), b.parameter("w", {4, 4}));
    ValueId y = b.op("rms_norm", {x, b.parameter("norm", {4})}, {{"eps", 1e-6}});
    ValueId v = b.input("v", {2}, DType::f32);
    ValueId loss = b.op("diffusion_loss", {y, b.input("t", {2, 4}, DType::f32), v, v}, {{"kind", 0}});
    try {
        differentiate(g, loss, b.input("seed", {1}, DType::f32));
        FAIL() << "rms_norm has no vector-Jacobian product";
    } catch (const Error& e) {
        EXPECT_EQ(e.code(), Code::unsupported);
        EXPECT_NE(std::string(e.what()).find("rms_norm"), std::string::npos);
    }
}

}  // namespace
}  // namespace stepd

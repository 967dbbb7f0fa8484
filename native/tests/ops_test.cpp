// Every op that can be differentiated, through recording, differentiation, plan, executor and CPU kernels: the gradient
// against finite differences, replays and thread counts bit-equal, bf16 close to f32.
#include <gtest/gtest.h>

#include <set>

#include "ops/op.h"
#include "tests/graph_runner.h"
#include "tests/transformer_block.h"

namespace stepd {
namespace {

using namespace test;

struct OpCase {
    std::string name;
    std::function<ValueId(Builder&)> build;  // returns y; whatever it reads is a trainable parameter
};

void PrintTo(const OpCase& c, std::ostream* out) { *out << c.name; }

// An activation with something trainable upstream, in the compute type of the builder.
ValueId x_of(Builder& b, const std::string& name, Shape shape) {
    ValueId weight = b.weight(name, shape);
    return b.add(b.input(name + ".input", shape, b.compute()), weight);
}

std::vector<OpCase> linear_cases() {
    std::vector<OpCase> cases;
    for (Shape x : {Shape{1, 1}, Shape{5, 7}, Shape{2, 3, 31}, Shape{1, 17, 64}}) {
        for (int64_t out : {1, 13, 48}) {
            cases.push_back({"linear " + to_string(x) + " to " + std::to_string(out), [=](Builder& b) {
                                 return b.linear(x_of(b, "x", x), b.weight("w", {out, x.back()}), b.weight("b", {out}));
                             }});
        }
        cases.push_back({"linear of one x three times " + to_string(x), [=](Builder& b) {
                             ValueId v = x_of(b, "x", x), w = b.weight("w", {x.back(), x.back()});
                             return b.add(b.linear(v, w), b.add(b.linear(v, w), v));
                         }});
        cases.push_back({"linear in f32 " + to_string(x), [=](Builder& b) {
                             return b.linear_to(DType::f32, x_of(b, "x", x), b.weight("w", {3, x.back()}));
                         }});
        cases.push_back({"feed-forward " + to_string(x), [=](Builder& b) {
                             ValueId h = b.gelu(b.linear(x_of(b, "x", x), b.weight("w", {9, x.back()})));
                             return b.linear(h, b.weight("v", {5, 9}), b.weight("b", {5}));
                         }});
    }
    return cases;
}

std::vector<OpCase> attention_cases() {
    struct Dims {
        int64_t batch, queries, keys, dim;
        int heads;
        bool mask;
    };
    std::vector<OpCase> cases;
    for (Dims d : {Dims{1, 1, 1, 4, 1, false}, Dims{2, 5, 5, 12, 3, false}, Dims{1, 7, 11, 24, 1, true},
                   Dims{3, 13, 2, 144, 2, true}}) {
        std::string name = detail::concat("attention of ", d.queries, " to ", d.keys, ", ", d.heads, " heads");
        cases.push_back({name, [=](Builder& b) {
                             Shape kv{d.batch, d.keys, d.dim};
                             ValueId mask = d.mask ? b.input("mask", {d.batch, d.keys}, DType::f32) : kNone;
                             return b.attention(x_of(b, "q", {d.batch, d.queries, d.dim}), x_of(b, "k", kv),
                                                x_of(b, "v", kv), d.heads, 1 / std::sqrt(double(d.dim) / d.heads),
                                                mask);
                         }});
    }
    return cases;
}

std::vector<OpCase> elementwise_cases() {
    std::vector<OpCase> cases;
    for (Shape s : {Shape{1}, Shape{3, 17}, Shape{2, 5, 24}}) {
        std::string of = " of " + to_string(s);
        cases.push_back({"add" + of, [=](Builder& b) { return b.add(x_of(b, "x", s), x_of(b, "y", s)); }});
        cases.push_back({"mul" + of, [=](Builder& b) { return b.mul(x_of(b, "x", s), x_of(b, "y", s)); }});
        cases.push_back({"scale" + of, [=](Builder& b) { return b.scale(x_of(b, "x", s), -1.5); }});
        cases.push_back({"gelu" + of, [=](Builder& b) { return b.gelu(x_of(b, "x", s)); }});
        cases.push_back({"silu" + of, [=](Builder& b) { return b.silu(x_of(b, "x", s)); }});
        cases.push_back({"cast" + of, [=](Builder& b) { return b.cast(x_of(b, "x", s), DType::f32); }});
        cases.push_back({"reshape" + of, [=](Builder& b) { return b.reshape(b.silu(x_of(b, "x", s)), {numel(s)}); }});
        cases.push_back({"square" + of, [=](Builder& b) {
                             ValueId x = x_of(b, "x", s);
                             return b.mul(x, x);
                         }});
        Shape part(s.end() - 1, s.end());
        cases.push_back(
            {"add with broadcast" + of, [=](Builder& b) { return b.add(x_of(b, "x", s), x_of(b, "y", part)); }});
        cases.push_back(
            {"mul with broadcast" + of, [=](Builder& b) { return b.mul(x_of(b, "x", s), x_of(b, "y", part)); }});
    }
    return cases;
}

std::vector<OpCase> movement_cases() {
    std::vector<OpCase> cases;
    for (int axis : {0, 1, -1}) {
        cases.push_back({detail::concat("split along ", axis), [=](Builder& b) {
                             std::vector<ValueId> parts = b.split(x_of(b, "x", {6, 9, 3}), axis, 3);
                             return b.mul(parts[0], parts[2]);  // nothing flows into the middle part
                         }});
        cases.push_back({detail::concat("slice along ", axis), [=](Builder& b) {
                             return b.slice(x_of(b, "x", {3, 7, 4}), axis, 1, 2);
                         }});
    }
    for (int squeeze : {0, 1}) {
        for (int axis : {0, 1}) {
            cases.push_back(
                {detail::concat("stack along ", axis, squeeze ? " squeezed" : ""), [=](Builder& b) {
                     ValueId x = x_of(b, "x", {1, 5}), y = x_of(b, "y", {1, 5});
                     return b.op("stack", {x, kNone, y, x}, {{"axis", double(axis)}, {"squeeze", double(squeeze)}});
                 }});
        }
    }
    for (int channel_last : {0, 1}) {
        Attrs attrs{{"patch", 2}, {"channel_last", double(channel_last)}};
        cases.push_back({detail::concat("patchify ", channel_last), [=](Builder& b) {
                             return b.op("patchify", {x_of(b, "x", {2, 3, 4, 6})}, attrs);
                         }});
        cases.push_back({detail::concat("unpatchify ", channel_last), [=](Builder& b) {
                             Attrs size = attrs;
                             size["height"] = 6;
                             size["width"] = 2;
                             return b.op("unpatchify", {x_of(b, "x", {1, 3, 20})}, size);
                         }});
    }
    return cases;
}

std::vector<OpCase> modulation_cases() {
    std::vector<OpCase> cases;
    for (Shape s : {Shape{1, 1, 3}, Shape{2, 5, 17}, Shape{3, 33, 72}}) {
        Shape vector{s[0], s[2]};
        cases.push_back({"norm_modulate of " + to_string(s), [=](Builder& b) {
                             return b.norm_modulate(x_of(b, "x", s), b.parameter("scale", vector),
                                                    b.parameter("shift", vector), 1e-6);
                         }});
        cases.push_back(
            {"norm_modulate and residual of " + to_string(s), [=](Builder& b) {
                 ValueId x = x_of(b, "x", s);
                 return b.add(x, b.norm_modulate(x, b.parameter("scale", vector), b.parameter("shift", vector), 1e-6));
             }});
        cases.push_back({"gate_residual of " + to_string(s), [=](Builder& b) {
                             return b.gate_residual(x_of(b, "x", s), b.parameter("gate", vector), x_of(b, "y", s));
                         }});
        cases.push_back({"gate_residual with a frozen gate of " + to_string(s), [=](Builder& b) {
                             return b.gate_residual(x_of(b, "x", s), b.input("gate", vector, DType::f32),
                                                    x_of(b, "y", s));
                         }});
        cases.push_back({"gated linear of " + to_string(s), [=](Builder& b) {
                             ValueId y = b.linear(x_of(b, "x", s), b.weight("w", {7, s[2]}), b.weight("b", {7}));
                             return b.gate_residual(x_of(b, "r", {s[0], s[1], 7}), b.parameter("gate", {s[0], 7}), y);
                         }});
    }
    return cases;
}

std::vector<OpCase> all_cases() {
    std::vector<OpCase> all;
    for (auto part : {linear_cases(), attention_cases(), elementwise_cases(), movement_cases(), modulation_cases()}) {
        all.insert(all.end(), part.begin(), part.end());
    }
    return all;
}

// The mean squared distance of y from `target`, differentiated with respect to every parameter; y is an output.
Graph record_case(const OpCase& c, DType compute) {
    Graph g;
    Builder b(g, compute, [](const std::string&) { return ParameterInfo{DType::f32, true}; });
    ValueId y = b.output("result", b.cast(c.build(b), DType::f32));
    int64_t n = numel(b.shape(y));
    ValueId one = b.input("weight", {1}, DType::f32);
    ValueId target = b.input("target", {1, n}, DType::f32);
    ValueId loss = b.op("diffusion_loss", {b.reshape(y, {1, n}), target, one, one}, {{"kind", 0}});
    differentiate(g, loss, b.input("seed", {1}, DType::f32));
    return g;
}

double loss_of(Runner& runner) {
    const HostTensor& y = runner.run().at("result");
    const HostTensor& target = runner.tensor("target");
    double sum = 0;
    for (size_t i = 0; i < y.size(); ++i) sum += (y.at(i) - target.at(i)) * (y.at(i) - target.at(i));
    return sum / double(y.size());
}

class OpGradientTest : public testing::TestWithParam<OpCase> {};

TEST_P(OpGradientTest, MatchesFiniteDifferences) {
    Graph g = record_case(GetParam(), DType::f32);
    for (bool rewrites : {false, true}) {
        RunOptions options;
        options.rewrites = rewrites;
        Runner runner(g, named_tensors(g), options);
        const Tensors gradients = runner.run();
        for (const Value& v : g.values) {
            if (v.role != Role::parameter) continue;
            const HostTensor& gradient = gradients.at(gradient_name(v.name));
            HostTensor& parameter = runner.tensor(v.name);
            const std::vector<double> before = parameter.values();
            for (uint32_t direction = 0; direction < 3; ++direction) {
                HostTensor d = random_tensor(v.shape, DType::f32, direction);
                constexpr double step = 1.0 / 256;
                double want = 0, length = 0, above, below;
                for (size_t i = 0; i < d.size(); ++i) {
                    want += gradient.at(i) * d.at(i);
                    length += gradient.at(i) * gradient.at(i);
                }
                for (size_t i = 0; i < d.size(); ++i) parameter.set(i, before[i] + step * d.at(i));
                above = loss_of(runner);
                for (size_t i = 0; i < d.size(); ++i) parameter.set(i, before[i] - step * d.at(i));
                below = loss_of(runner);
                for (size_t i = 0; i < d.size(); ++i) parameter.set(i, before[i]);
                EXPECT_NEAR((above - below) / (2 * step), want, 2e-3 * std::sqrt(length) + 2e-4) << v.name;
            }
        }
    }
}

TEST_P(OpGradientTest, IsBitEqualInEveryRunAndUnderAnyNumberOfThreads) {
    for (DType compute : {DType::f32, DType::bf16}) {
        Graph g = record_case(GetParam(), compute);
        RunOptions options;
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

TEST_P(OpGradientTest, Bf16IsCloseToF32) {
    Tensors want = run_graph(record_case(GetParam(), DType::f32));
    Tensors got = run_graph(record_case(GetParam(), DType::bf16));
    if (want.at("result").size() == 1) return;  // the error of one number has nothing to be relative to
    expect_near(got, want, 4e-2);
}

INSTANTIATE_TEST_SUITE_P(Ops, OpGradientTest, testing::ValuesIn(all_cases()), [](const auto& info) {
    std::string name;
    for (char c : info.param.name) name += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
    return name;
});

TEST(OpCoverageTest, EveryProductIsTested) {
    std::set<std::string> covered;
    for (const OpCase& c : all_cases()) {
        for (const Node& n : record_case(c, DType::bf16).nodes) covered.insert(n.op->name);
    }
    for (const Op* op : all_ops()) {
        EXPECT_TRUE(!op->vjp || covered.count(op->name)) << op->name;
    }
}

TEST(OpCoverageTest, LossGradientOfEveryKind) {
    for (int kind : {0, 1, 2}) {
        Graph g;
        Builder b(g, DType::f32, [](const std::string&) { return ParameterInfo{DType::f32, true}; });
        ValueId target = b.input("target", {3, 4, 2, 5}, DType::f32);
        ValueId weight = b.input("sample_weight", {3}, DType::f32), c = b.input("c", {3}, DType::f32);
        std::vector<ValueId> loss =
            b.ops("diffusion_loss", {b.parameter("pred", {3, 4, 2, 5}), target, weight, c}, {{"kind", double(kind)}});
        b.output("loss", loss[0]);
        differentiate(g, loss[0], b.input("seed", {1}, DType::f32));
        Runner runner(g, named_tensors(g));
        const HostTensor gradient = runner.run().at("grad.pred");
        HostTensor& pred = runner.tensor("pred");
        for (size_t i = 0; i < pred.size(); i += 7) {
            double before = pred.at(i), step = 1.0 / 64;
            pred.set(i, before + step);
            double above = runner.run().at("loss").at(0);
            pred.set(i, before - step);
            double below = runner.run().at("loss").at(0);
            pred.set(i, before);
            EXPECT_NEAR((above - below) / (2 * step), gradient.at(i), 1e-4) << "kind " << kind << ", element " << i;
        }
    }
}

}  // namespace
}  // namespace stepd

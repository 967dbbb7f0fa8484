// Optimizers, clipping, averages and learning rates; the comparison with torch is section G of the reference data.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <list>
#include <memory>

#include "base/error.h"
#include "io/draws.h"
#include "io/random.h"
#include "optim/ema.h"
#include "optim/lr_schedule.h"
#include "optim/sweep.h"

namespace stepd {
namespace {

// Parameters of awkward sizes with gradients, for any method.
struct Problem {
    Problem(const std::string& name, DType dtype, Pool& pool, const std::map<std::string, double>& settings = {})
        : method(find_optimizer(name)) {
        Generator generator(5);
        for (int64_t n : {1, 17, 1000, 70000, 140001}) {
            const size_t size = size_t(n);
            gradients.push_back(generator.randn(n));
            averages.emplace_back(size, 0.f);
            TrainedTensor t;
            t.name = "p" + std::to_string(n);
            auto& bytes = memory.emplace_back(size * size_of(dtype));
            t.weight = {bytes.data(), dtype, {n}};
            const std::vector<float> start = generator.randn(n);
            for (size_t i = 0; i < size; i++) {
                if (dtype == DType::bf16)
                    t.weight.bf16()[i] = to_bf16(start[i]);
                else
                    t.weight.f32()[i] = start[i];
            }
            for (const StateSpec& s : method.state)
                t.state.push_back(memory.emplace_back(size * size_of(s.dtype)).data());
            tensors.push_back(t);
        }
        for (size_t i = 0; i < tensors.size(); i++) {
            tensors[i].gradient = gradients[i].data();
            tensors[i].average = averages[i].data();
        }
        sweep = std::make_unique<Sweep>(method, optimizer_settings(method, settings), tensors, pool);
    }
    void step(int64_t n, double lr = 1e-2) {
        StepOptions o;
        o.step = n;
        o.lr = lr;
        o.average_rate = 1 - ema_decay({}, n);
        o.seed = 9;
        sweep->step(o);
    }
    float weight(size_t t, size_t i) const {
        const Tensor& w = tensors[t].weight;
        return w.dtype == DType::bf16 ? to_float(w.bf16()[i]) : w.f32()[i];
    }

    const OptimizerMethod& method;
    std::list<std::vector<char>> memory;
    std::vector<std::vector<float>> gradients, averages;
    std::vector<TrainedTensor> tensors;
    std::unique_ptr<Sweep> sweep;
};

TEST(Sweep, does_not_depend_on_threads) {
    for (const char* name : {"adamw", "adamw_bf16"})
        for (DType dtype : {DType::f32, DType::bf16}) {
            Pool one(1), three(3);
            Problem a(name, dtype, one), b(name, dtype, three);
            for (int64_t s = 1; s <= 3; s++) {
                a.step(s);
                b.step(s);
            }
            EXPECT_EQ(a.memory, b.memory) << name << " " << name_of(dtype);
            EXPECT_EQ(a.averages, b.averages) << name << " " << name_of(dtype);
            EXPECT_EQ(a.sweep->gradient_norm().value, b.sweep->gradient_norm().value);
        }
}

TEST(Sweep, measures_and_clips_gradients) {
    Pool pool(2);
    Problem p("adamw", DType::f32, pool);
    double sum = 0;
    for (const auto& g : p.gradients)
        for (float v : g) sum += double(v) * v;
    const GradientNorm norm = p.sweep->gradient_norm();
    EXPECT_NEAR(norm.value, std::sqrt(sum), 1e-9 * norm.value);
    EXPECT_TRUE(norm.broken.empty());
    EXPECT_EQ(clip_scale(norm.value, 0), 1);
    EXPECT_EQ(clip_scale(0.5, 1), 1);
    EXPECT_NEAR(clip_scale(4, 1), 0.25, 1e-6);
    p.gradients[3][65999] = NAN;
    EXPECT_EQ(p.sweep->gradient_norm().broken, "p70000");
}

TEST(Sweep, scales_before_it_clamps) {
    Pool pool(1);
    // Without bias correction's help the first moment after one step is (1 - beta1) times the gradient that was used.
    Problem p("adamw", DType::f32, pool);
    StepOptions o;
    o.step = 1;
    o.gradient_scale = 0.5;
    o.clip_value = 0.25;
    p.sweep->step(o);
    for (size_t i = 0; i < 1000; i++) {
        const float used = std::min(0.25f, std::max(-0.25f, 0.5f * p.gradients[2][i]));
        EXPECT_NEAR(static_cast<float*>(p.tensors[2].state[0])[i], 0.1f * used, 1e-7f);
    }
}

// One step from the same start in f32 and with everything in bf16: equal up to the rounding of the weights.
TEST(AdamW, bf16_follows_f32) {
    Pool pool(2);
    Problem exact("adamw", DType::f32, pool), rounded("adamw_bf16", DType::bf16, pool, {{"eps", 1e-8}});
    for (size_t t = 0; t < exact.tensors.size(); t++)
        for (size_t i = 0; i < exact.gradients[t].size(); i++) exact.tensors[t].weight.f32()[i] = rounded.weight(t, i);
    exact.step(1);
    rounded.step(1);
    for (size_t t = 0; t < exact.tensors.size(); t++)
        for (size_t i = 0; i < exact.gradients[t].size(); i++)
            ASSERT_NEAR(rounded.weight(t, i), exact.weight(t, i), 0x1p-7 * std::abs(exact.weight(t, i)) + 1e-6);
}

// Each weight lands on a neighbour of the exact result, and the mean over many is the exact result.
TEST(AdamW, stochastic_rounding_keeps_small_updates) {
    Pool pool(2);
    constexpr int64_t n = 1 << 16;
    std::vector<bf16> weight(n, to_bf16(1.f)), m(n, bf16{0}), v(n, bf16{0});
    std::vector<float> gradient(n, 1.f);
    const OptimizerMethod& method = find_optimizer("adamw_bf16");
    TrainedTensor t;
    t.name = "w";
    t.weight = {weight.data(), DType::bf16, {n}};
    t.gradient = gradient.data();
    t.state = {m.data(), v.data()};
    const Sweep sweep(method, optimizer_settings(method, {{"weight_decay", 0}}), {t}, pool);
    StepOptions o;
    o.step = 1;
    o.lr = 1e-4;  // far below the distance of 2^-8 to the next bf16 number
    sweep.step(o);
    double mean = 0;
    for (bf16 w : weight) {
        EXPECT_TRUE(to_float(w) == 1.f || to_float(w) == 1.f - 0x1p-8f) << to_float(w);
        mean += to_float(w) / double(n);
    }
    EXPECT_NEAR(mean, 1 - 1e-4, 1.5e-5);  // five standard deviations
    o.seed = 1;
    std::vector<bf16> first = weight;
    sweep.step(o);
    EXPECT_NE(std::memcmp(first.data(), weight.data(), n * sizeof(bf16)), 0);
}

// Both moments and the weight of element `begin` and those after it, one bf16 step from the same start.
std::vector<std::vector<bf16>> rounded_step(uint64_t key, int64_t begin) {
    constexpr size_t n = 4096;
    const OptimizerMethod& method = find_optimizer("adamw_bf16");
    const std::vector<double> settings = optimizer_settings(method, {});
    std::vector<std::vector<bf16>> out(3, std::vector<bf16>(n, to_bf16(1.f)));
    const std::vector<float> gradient(n, 0.3f);
    UpdateRange r{};
    r.begin = begin;
    r.count = n;
    r.key = key;
    r.weight = out[0].data();
    r.weight_dtype = DType::bf16;
    r.gradient = gradient.data();
    r.state[0] = out[1].data();
    r.state[1] = out[2].data();
    method.update(r, {settings.data(), 1, 1e-3});
    return out;
}

bool same(const std::vector<bf16>& a, const std::vector<bf16>& b, size_t shift = 0) {
    return std::memcmp(a.data() + shift, b.data(), (b.size() - shift) * sizeof(bf16)) == 0;
}

TEST(AdamW, rounding_depends_on_the_whole_key_and_element) {
    const auto base = rounded_step(7, 0), high = rounded_step(7 + (uint64_t(1) << 32), 0),
               shifted = rounded_step((uint64_t(1) << 32) + 7 + 512, 0), far = rounded_step(7, int64_t(1) << 32);
    for (size_t i = 0; i < 3; i++) {
        EXPECT_TRUE(same(base[i], rounded_step(7, 0)[i])) << i;
        EXPECT_FALSE(same(base[i], high[i])) << "high half of the key, tensor " << i;
        EXPECT_FALSE(same(base[i], shifted[i], 512)) << "a shifted window of the same sequence, tensor " << i;
        EXPECT_FALSE(same(base[i], far[i])) << "high half of the element, tensor " << i;
    }
}

TEST(Sweep, rounds_by_the_key_of_seed_step_and_parameter) {
    Pool pool(1);
    constexpr int64_t n = 4096;
    const OptimizerMethod& method = find_optimizer("adamw_bf16");
    std::vector<std::vector<bf16>> memory(6, std::vector<bf16>(n, to_bf16(1.f)));
    std::vector<float> gradient(n, 0.3f);
    std::vector<TrainedTensor> tensors(2);
    for (size_t t = 0; t < 2; t++) {
        tensors[t].weight = {memory[3 * t].data(), DType::bf16, {n}};
        tensors[t].gradient = gradient.data();
        tensors[t].state = {memory[3 * t + 1].data(), memory[3 * t + 2].data()};
    }
    const Sweep sweep(method, optimizer_settings(method, {}), tensors, pool);
    StepOptions o;
    o.step = 1;
    o.lr = 1e-3;
    o.seed = 5;
    sweep.step(o);
    for (size_t t = 0; t < 2; t++) {
        const auto expected = rounded_step(rounding_key(5, 1, t), 0);
        for (size_t i = 0; i < 3; i++) EXPECT_TRUE(same(memory[3 * t + i], expected[i])) << t << " " << i;
    }
}

TEST(Optimizer, refuses_unknown_names_and_settings) {
    const OptimizerMethod& adamw = find_optimizer("adamw");
    EXPECT_THROW(find_optimizer("adam2"), Error);
    EXPECT_THROW(optimizer_settings(adamw, {{"beta3", 0.9}}), Error);
    EXPECT_THROW(optimizer_settings(adamw, {{"beta1", 1.0}}), Error);
    EXPECT_THROW(optimizer_settings(adamw, {{"eps", -1.0}}), Error);
    EXPECT_EQ(optimizer_settings(adamw, {{"beta2", 0.5}}), (std::vector<double>{0.9, 0.5, 1e-8, 1e-2}));
}

TEST(Ema, starts_at_the_weights_and_rises_to_the_decay) {
    EXPECT_EQ(ema_decay({}, 1), 0);
    EXPECT_DOUBLE_EQ(ema_decay({}, 2), 2.0 / 11);
    EXPECT_DOUBLE_EQ(ema_decay({.decay = 0.5}, 1000), 0.5);
    EXPECT_DOUBLE_EQ(ema_decay({.decay = 1, .warmup = true, .inv_gamma = 2, .power = 1}, 3), 0.5);
    Pool pool(1);
    Problem p("adamw", DType::f32, pool);
    p.step(1);
    EXPECT_EQ(p.averages[2][7], p.weight(2, 7));
    const float before = p.averages[2][7];
    p.step(2);
    EXPECT_NEAR(p.averages[2][7], before * 2 / 11 + p.weight(2, 7) * 9 / 11, 1e-6);
}

TEST(Ema, a_constant_decay_holds_from_the_first_step) {
    EXPECT_EQ(ema_decay({.decay = 0.75, .constant = true}, 1), 0.75);
    EXPECT_EQ(ema_decay({.decay = 0.75, .constant = true}, 1000), 0.75);
}

TEST(LearningRate, names_what_is_wrong) {
    EXPECT_THROW(check({.name = "exponential"}, 1e-3), Error);
    EXPECT_THROW(check({.name = "cosine"}, 1e-3), Error) << "needs the length of the run";
    EXPECT_THROW(check({.name = "polynomial", .steps = 10, .lr_end = 1}, 1e-3), Error);
    EXPECT_THROW(check({.name = "constant", .warmup = -1}, 1e-3), Error);
    EXPECT_NO_THROW(check({.name = "cosine", .steps = 10}, 1e-3));
    EXPECT_EQ(learning_rate({.name = "linear", .warmup = 4, .steps = 10}, 1, 2), 0.5);
    EXPECT_EQ(learning_rate({.name = "linear", .warmup = 4, .steps = 10}, 1, 7), 0.5);
}

TEST(LearningRate, cosines_may_end_above_zero) {
    for (const char* name : {"cosine", "cosine_with_restarts"}) {
        const LearningRateSchedule s{.name = name, .warmup = 4, .steps = 24, .lr_end = 0.25};
        EXPECT_EQ(learning_rate(s, 1, 2), 0.5) << "the warm-up starts at zero";
        EXPECT_EQ(learning_rate(s, 1, 4), 1);
        EXPECT_EQ(learning_rate(s, 1, 24), 0.25);
    }
    EXPECT_DOUBLE_EQ(learning_rate({.name = "cosine", .warmup = 4, .steps = 24, .lr_end = 0.25}, 1, 14), 0.625);
    EXPECT_THROW(check({.name = "cosine", .steps = 10, .lr_end = 2}, 1), Error);
    EXPECT_NO_THROW(check({.name = "cosine", .steps = 10, .lr_end = 1}, 1));
}

}  // namespace
}  // namespace stepd

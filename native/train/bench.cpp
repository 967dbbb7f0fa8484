#include "train/bench.h"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "backend/cpu.h"
#include "base/error.h"
#include "graph/executor.h"
#include "io/random.h"
#include "models/family.h"
#include "ops/op.h"
#include "train/trainer.h"

namespace stepd {
namespace {

// A PixArt transformer and its bucket. Everything is trained: AdamW, lr 1e-4, weight decay 1e-2, weights and optimizer
// state in bf16, mean squared error.
struct BenchCase {
    const char* name;
    int layers, heads, head_dim, caption_channels, text_tokens, latent, batch;
};
constexpr BenchCase kCases[] = {
    {"pixart-demo", 8, 6, 64, 384, 32, 16, 16},
    {"pixart-block-real", 2, 16, 72, 4096, 300, 64, 1},
    {"pixart-900M", 42, 16, 72, 4096, 300, 64, 1},
};

nlohmann::json transformer_config(const BenchCase& c) {
    const int width = c.heads * c.head_dim;
    return {{"_class_name", "PixArtTransformer2DModel"},
            {"num_attention_heads", c.heads},
            {"attention_head_dim", c.head_dim},
            {"in_channels", 4},
            {"out_channels", 8},
            {"num_layers", c.layers},
            {"cross_attention_dim", width},
            {"caption_channels", c.caption_channels},
            {"attention_bias", true},
            {"sample_size", c.latent},
            {"patch_size", 2},
            {"activation_fn", "gelu-approximate"},
            {"norm_type", "ada_norm_single"},
            {"norm_elementwise_affine", false},
            {"norm_eps", 1e-6},
            {"interpolation_scale", std::max(1, c.latent / 64)},
            {"use_additional_conditions", false}};
}

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

void randomise(std::vector<float>& values, Generator& generator) {
    generator.randn(values.data(), int64_t(values.size()));
}

void fill_inputs(TrainingInputs& inputs, Generator& generator) {
    randomise(inputs.latents, generator);
    randomise(inputs.target, generator);
    for (float& t : inputs.timestep) t = float(generator.randint(0, 1000, 1)[0]);
    std::vector<float> text(size_t(inputs.text[0].numel()));
    randomise(text, generator);
    copy_values(Tensor{text.data(), DType::f32, inputs.text[0].shape}, inputs.text[0]);
}

void fill_weights(const Denoiser& denoiser, ParameterStore& store, Generator& generator) {
    std::vector<float> values;
    for (size_t i = 0; i < denoiser.parameters().size(); i++) {
        const ParameterSpec& p = denoiser.parameters()[i];
        values.resize(size_t(numel(p.shape)));
        denoiser.initialise(p, generator, values.data());
        // The final projection starts at zero in training; random values make the whole backward pass work with
        // realistic numbers.
        if (std::all_of(values.begin(), values.end(), [](float v) { return v == 0; })) {
            randomise(values, generator);
            for (float& v : values) v *= 0.02f;
        }
        copy_values(Tensor{values.data(), DType::f32, p.shape}, store.weight(i));
    }
}

// Linear layers count forward, gradient of the input and gradient of the weight; attention 3.5 times its forward pass.
// Recomputation and everything else is not counted, as in the PyTorch scripts.
double model_flop(const Graph& graph) {
    double flop = 0;
    for (const Node& node : graph.nodes) {
        const std::string op = node.op->name;
        const bool linear = op.starts_with("linear");
        if (!linear && op != "attention" && op != "attention_bwd") continue;
        flop += node.op->cost(graph, node).flop;
    }
    return flop;
}

nlohmann::json profile_rows(Executor& executor) {
    struct Total {
        double seconds = 0, flop = 0, bytes = 0;
        int count = 0;
    };
    std::map<std::string, Total> by_op;
    const Graph& graph = executor.plan().graph;
    for (const NodeTime& t : executor.profile()) {
        const Node& node = graph.nodes[size_t(t.node)];
        Total& total = by_op[std::string(node.op->name) +
                             (node.outputs[0] == kNone ? "" : " " + to_string(graph.value(node.outputs[0]).shape))];
        total.seconds += t.seconds;
        total.flop += t.flop;
        total.bytes += t.bytes;
        total.count++;
    }
    std::vector<std::pair<std::string, Total>> sorted(by_op.begin(), by_op.end());
    std::sort(sorted.begin(), sorted.end(), [](auto& a, auto& b) { return a.second.seconds > b.second.seconds; });
    nlohmann::json rows = nlohmann::json::array();
    for (size_t i = 0; i < std::min<size_t>(sorted.size(), 40); i++) {
        const auto& [name, t] = sorted[i];
        rows.push_back({{"node", name},
                        {"count", t.count},
                        {"ms", t.seconds * 1e3},
                        {"gflops", t.flop / t.seconds / 1e9},
                        {"gb_per_s", t.bytes / t.seconds / 1e9}});
    }
    return rows;
}

nlohmann::json run_case(const BenchCase& c, const BenchRequest& request) {
    const auto backend = make_cpu_backend();
    const auto denoiser = find_family("pixart", nullptr).make_denoiser(transformer_config(c));
    const ParameterLayout layout(*denoiser, nullptr, DType::bf16, DType::bf16);
    const DenoiserGraphs graphs{*denoiser, nullptr, nullptr, layout, DType::bf16};
    const OptimizerMethod& method = find_optimizer("adamw_bf16");
    Trainer trainer(graphs, method, optimizer_settings(method, {{"eps", 1e-8}, {"weight_decay", 1e-2}}), {}, *backend);
    Generator generator(0);
    fill_weights(*denoiser, trainer.store(), generator);
    const Bucket bucket{c.batch, c.latent, c.latent, c.text_tokens};
    const double started = now();  // recording and planning belong to the first step, as compilation does elsewhere
    fill_inputs(trainer.inputs(bucket), generator);

    double loss = 0;
    auto step = [&] {
        const double start = now();
        loss = trainer.accumulate(bucket, true);
        trainer.apply(1e-4);
        return now() - start;
    };
    step();
    const double first_step = now() - started, loss0 = loss;
    for (int64_t i = 1; i < (request.warmup > 0 ? request.warmup : 2); i++) step();
    std::vector<double> seconds;
    for (int64_t i = 0; i < (request.steps > 0 ? request.steps : 7); i++) seconds.push_back(step());
    std::sort(seconds.begin(), seconds.end());
    const size_t n = seconds.size();
    const double median = n % 2 ? seconds[n / 2] : (seconds[n / 2 - 1] + seconds[n / 2]) / 2;
    const double flop = model_flop(trainer.executor(bucket).plan().graph);
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    nlohmann::json row = {{"name", c.name},
                          {"variant", std::string("stepd-bf16-") + cpu_isa()},
                          {"sec_median", median},
                          {"sec_min", seconds.front()},
                          {"tokens", c.batch * (c.latent / 2) * (c.latent / 2)},
                          {"text_tokens", c.batch * c.text_tokens},
                          {"gflop_step", flop / 1e9},
                          {"tflops", flop / median / 1e12},
                          {"tflops_best", flop / seconds.front() / 1e12},
                          {"peak_rss_mb", usage.ru_maxrss / 1024},
                          {"first_step_s", first_step},
                          {"trainable", layout.trained_elements()},
                          {"threads", backend->pool()->threads()},
                          {"steps", int64_t(n)},
                          {"loss0", loss0},
                          {"loss", loss}};
    if (request.profile) row["profile"] = profile_rows(trainer.executor(bucket));
    return row;
}

}  // namespace

nlohmann::json run_bench(const BenchRequest& request) {
    std::string known;
    for (const BenchCase& c : kCases) known += (known.empty() ? "" : ", ") + std::string(c.name);
    std::vector<const BenchCase*> chosen;
    for (const std::string& name : request.cases) {
        const auto* found = std::find_if(std::begin(kCases), std::end(kCases), [&](auto& c) { return name == c.name; });
        STEPD_REQUIRE(found != std::end(kCases), Code::invalid, "cases: \"", name, "\" is not one of ", known);
        chosen.push_back(found);
    }
    if (chosen.empty())
        for (const BenchCase& c : kCases) chosen.push_back(&c);
    nlohmann::json rows = nlohmann::json::array();
    for (const BenchCase* c : chosen) rows.push_back(run_case(*c, request));
    return rows;
}

}  // namespace stepd

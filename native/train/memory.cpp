#include "train/memory.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <sstream>
#include <string>

#include "backend/cpu.h"
#include "base/error.h"
#include "graph/plan.h"
#include "ops/op.h"
#include "train/component.h"
#include "train/graphs.h"
#include "train/objective.h"

namespace stepd {
namespace {

constexpr int64_t kWorkspacePerThread = int64_t(8) << 20;  // partial sums of the kernels
constexpr double kOptimizerBytesPerSecond = 8e9;           // of one thread

// Sustained rate of a training step on one core, for estimates only (measured with `stepd bench`).
double flop_per_second(DType compute) {
    const std::string isa = cpu_isa();
    if (isa == "amx" && compute == DType::bf16) return 6e11;
    return isa == "avx2" ? 4e10 : 8e10;
}

std::optional<int64_t> read_number(const std::string& path) {
    std::ifstream in(path);
    int64_t value;
    if (in >> value) return value;
    return std::nullopt;  // absent, or "max"
}

std::optional<int64_t> read_field(const std::string& path, const std::string& key) {
    std::ifstream in(path);
    std::string name;
    for (int64_t value; in >> name;) {
        if (!(in >> value))
            in.clear();
        else if (name == key)
            return value;
        in.ignore(256, '\n');
    }
    return std::nullopt;
}

// Files of a control group's memory controller.
struct ControlGroupFiles {
    const char *line, *root, *limit, *used, *stat, *cache;
};
constexpr ControlGroupFiles kVersion2 = {"0::",          "/sys/fs/cgroup", "/memory.max", "/memory.current",
                                         "/memory.stat", "inactive_file"};
constexpr ControlGroupFiles kVersion1 = {
    ":memory:",     "/sys/fs/cgroup/memory", "/memory.limit_in_bytes", "/memory.usage_in_bytes",
    "/memory.stat", "total_inactive_file"};

// What the tightest of this process's control group and those around it still allows.
int64_t control_group_available(const ControlGroupFiles& files) {
    std::ifstream in("/proc/self/cgroup");
    std::string line, path;
    while (std::getline(in, line))
        if (size_t at = line.find(files.line); at != std::string::npos)
            path = line.substr(at + std::string(files.line).size());
    int64_t least = INT64_MAX;
    while (!path.empty()) {
        const std::string dir = files.root + (path == "/" ? "" : path);
        const auto limit = read_number(dir + files.limit), used = read_number(dir + files.used);
        if (limit && used) {
            const int64_t cache = read_field(dir + files.stat, files.cache).value_or(0);  // given back on demand
            least = std::min(least, std::max<int64_t>(0, *limit - *used + cache));
        }
        if (path == "/") break;
        path = path.substr(0, path.find_last_of('/'));
        if (path.empty()) path = "/";
    }
    return least;
}

std::string mebibytes(int64_t bytes) { return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MiB"; }

int64_t encoder_bytes(const Model& model, const SessionConfig& config, const std::vector<PixelShape>& shapes,
                      const Cancellation* cancellation) {
    const auto text = model.family.make_text_encoder(model.folder.config("text_encoder"));
    const int64_t length = TextEncoderRunner::padded_length(config.text_tokens);
    const int64_t text_bytes = ComponentWeights::bytes(*text, config.dtype) +
                               make_plan(TextEncoderRunner::record(*text, config.dtype, length)).report.arena_bytes;
    const auto vae = model.family.make_autoencoder(model.folder.config("vae"));
    int64_t picture_bytes = 0;
    for (const PixelShape& s : shapes) {
        if (cancellation) cancellation->check("planning memory");
        const Graph encode = AutoencoderRunner::record_encode(*vae, s.height, s.width);
        const Graph decode = DecoderRunner::record(*vae, s.height / vae->factor(), s.width / vae->factor());
        for (const Graph* g : {&encode, &decode})
            picture_bytes = std::max(picture_bytes, make_plan(*g).report.arena_bytes);
    }
    return std::max(text_bytes, ComponentWeights::bytes(*vae, DType::f32) + picture_bytes);
}

// Matrix products pack both operands as bf16, padded to whole tiles, in scratch memory that the pool keeps.
int64_t packing_bytes(const Graph& graph) {
    int64_t most = 0;
    for (const Node& node : graph.nodes) {
        if (!std::string(node.op->name).starts_with("linear")) continue;
        const int64_t elements = numel(graph.value(node.inputs[0]).shape) + numel(graph.value(node.inputs[1]).shape);
        most = std::max(most, elements * 2 * 9 / 8);
    }
    return most;
}

// What the losses of pictures that are not trained on need at most. Their graphs run in the training's arena, one at a
// time, each with its own inputs.
struct EvaluationNeeds {
    int64_t arena = 0, ports = 0, packing = 0;
};

EvaluationNeeds evaluation_needs(const DenoiserGraphs& graphs, LossKind kind, const std::set<Bucket>& buckets,
                                 const Cancellation* cancellation) {
    EvaluationNeeds needs;
    for (const Bucket& bucket : buckets) {
        if (cancellation) cancellation->check("planning memory");
        Graph graph = graphs.record_evaluation(bucket, kind);
        needs.packing = std::max(needs.packing, packing_bytes(graph));
        const PlanReport report = make_plan(std::move(graph)).report;
        needs.arena = std::max(needs.arena, report.arena_bytes);
        needs.ports = std::max(needs.ports, report.input_bytes + report.output_bytes);
    }
    return needs;
}

Bucket bucket_of(const PixelShape& s, const Model& model, const SessionConfig& config) {
    const int64_t multiple = model.latent_factor * model.denoiser->patch_size();
    STEPD_REQUIRE(s.width > 0 && s.height > 0 && s.width % multiple == 0 && s.height % multiple == 0 && s.batch > 0,
                  Code::invalid, "shape ", s.width, "x", s.height, " with batch ", s.batch,
                  ": sides must be positive multiples of ", multiple, " and the batch at least 1");
    return {s.batch, s.height / model.latent_factor, s.width / model.latent_factor,
            s.text_tokens > 0 ? s.text_tokens : config.text_tokens};
}

}  // namespace

int64_t available_memory() {
    const auto kibibytes = read_field("/proc/meminfo", "MemAvailable:");
    const int64_t machine = kibibytes ? *kibibytes * 1024 : INT64_MAX;
    return std::min({machine, control_group_available(kVersion1), control_group_available(kVersion2)});
}

nlohmann::json to_json(const MemoryPlan& p) {
    return {{"weights", p.weights},
            {"gradients", p.gradients},
            {"optimizer", p.optimizer},
            {"ema", p.ema},
            {"activations", p.activations},
            {"encoders", p.encoders},
            {"workspace", p.workspace},
            {"total", p.total},
            {"available", p.available},
            {"flop", p.flop},
            {"seconds", p.seconds},
            {"recomputed", p.recomputed},
            {"trainable", p.trainable},
            {"parameters", p.parameters},
            {"fits", p.fits}};
}

ParameterLayout make_layout(const Model& model, const SessionConfig& config) {
    // Master weights are for training: pictures need no more than what is computed with.
    const DType trained = config.sample_only && !model.adapter ? config.dtype : config.weight_dtype;
    return ParameterLayout(*model.denoiser, model.adapter.get(), config.dtype, trained);
}

MemoryPlan plan_state(const ParameterLayout& layout, const SessionConfig& config) {
    MemoryPlan p;
    p.weights = Slab::bytes(layout.weight_specs());
    p.parameters = layout.elements();
    p.available = config.memory_budget > 0 ? config.memory_budget : available_memory();
    if (!config.sample_only) {
        const OptimizerMethod& method = find_optimizer(config.optimizer.name);
        p.gradients = Slab::bytes(layout.trained_specs(DType::f32));
        p.optimizer = Slab::bytes(layout.state_specs(method));
        if (config.ema) p.ema = Slab::bytes(layout.trained_specs(DType::f32));
        p.trainable = layout.trained_elements();
    }
    p.total = p.state();
    p.fits = p.total <= p.available;
    return p;
}

MemoryPlan plan_memory(const Model& model, const SessionConfig& config, const std::vector<PixelShape>& shapes,
                       int threads, const Cancellation* cancellation) {
    const ParameterLayout layout = make_layout(model, config);
    const DenoiserGraphs graphs{*model.denoiser, model.adapter.get(), model.sampling_adapter.get(), layout,
                                config.dtype};
    const Objective objective(config.loss, config.noise, model.scheduler);  // refuses what the folder contradicts
    MemoryPlan p = plan_state(layout, config);
    std::set<Bucket> buckets, evaluated;
    for (const PixelShape& shape : shapes)
        (shape.evaluation ? evaluated : buckets).insert(bucket_of(shape, model, config));
    const EvaluationNeeds evaluation = evaluation_needs(graphs, objective.loss_kind(), evaluated, cancellation);
    p.workspace = evaluation.packing;
    std::vector<Graph> recorded;
    for (const Bucket& bucket : buckets) {
        if (cancellation) cancellation->check("planning memory");
        recorded.push_back(config.sample_only ? graphs.record_sampling(bucket, false)
                                              : graphs.record_training(bucket, objective.loss_kind()));
        p.workspace = std::max(p.workspace, packing_bytes(recorded.back()));
    }
    p.workspace += threads * kWorkspacePerThread;
    // Buckets share the arena; each keeps inputs and outputs of its own.
    int64_t arena_bytes = evaluation.arena, port_bytes = evaluation.ports;
    const PlanOptions options{arena_budget(p, config), cancellation};
    for (Graph& graph : recorded) {
        const PlanReport report = make_plan(std::move(graph), options).report;
        arena_bytes = std::max(arena_bytes, report.arena_bytes);
        port_bytes += report.input_bytes + report.output_bytes;
        p.flop = std::max(p.flop, report.flop * double(config.accumulation));
        p.recomputed = std::max(p.recomputed, int64_t(report.recomputed_nodes));
    }
    if (config.accumulation > 1 && !config.sample_only)
        for (const Bucket& bucket : buckets)
            arena_bytes = std::max(
                arena_bytes,
                make_plan(graphs.record_training(bucket, objective.loss_kind(), true), options).report.arena_bytes);
    p.activations = arena_bytes + port_bytes;
    p.encoders = encoder_bytes(model, config, shapes, cancellation);
    // Pictures are made, and new crops encoded, while the arena is released and the inputs stay.
    p.total = p.state() + port_bytes + std::max(arena_bytes, p.encoders);
    p.fits = p.total <= p.available;
    p.seconds = p.flop / (threads * flop_per_second(config.dtype)) +
                double(p.gradients + 2 * (p.optimizer + p.ema)) / (threads * kOptimizerBytesPerSecond);
    return p;
}

int64_t arena_budget(const MemoryPlan& plan, const SessionConfig& config) {
    if (config.gradient_checkpointing) return 0;
    return std::max<int64_t>(0, plan.available - plan.state());
}

void require_picture_fits(const Model& model, const SessionConfig& config, const DenoiserGraphs& graphs,
                          const Bucket& bucket) {
    const int64_t denoising = make_plan(graphs.record_sampling(bucket, false)).report.arena_bytes;
    const auto vae = model.family.make_autoencoder(model.folder.config("vae"));
    const Graph decode = DecoderRunner::record(*vae, bucket.latent_height, bucket.latent_width);
    const int64_t needed = std::max(denoising, make_plan(decode).report.arena_bytes);
    const int64_t left = config.memory_budget > 0 ? config.memory_budget - plan_state(graphs.layout, config).state()
                                                  : available_memory();
    STEPD_REQUIRE(needed <= left, Code::out_of_memory, "a picture of ", bucket.latent_width * model.latent_factor, "x",
                  bucket.latent_height * model.latent_factor, " needs ", mebibytes(needed), " and ",
                  mebibytes(std::max<int64_t>(0, left)), " are left; ask for a smaller one");
}

void require_fit(const MemoryPlan& p) {
    STEPD_REQUIRE(
        p.fits, Code::out_of_memory, "the session needs ", mebibytes(p.total), " and ", mebibytes(p.available),
        " are available: weights ", mebibytes(p.weights), ", gradients ", mebibytes(p.gradients), ", optimizer ",
        mebibytes(p.optimizer), ", average ", mebibytes(p.ema), ", activations ", mebibytes(p.activations),
        ", encoders ", mebibytes(p.encoders), ", workspace ", mebibytes(p.workspace),
        ". Remedies: a smaller micro-batch or resolution, gradient checkpointing, an adapter instead of a full "
        "fine-tune, weights in bf16, optimizer adamw_bf16, no average");
}

}  // namespace stepd

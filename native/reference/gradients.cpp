// Section C: one training step with given noise and timesteps; the loss and the gradient of every weight.
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "diffusion/loss_terms.h"
#include "graph/autodiff.h"
#include "models/folder.h"
#include "reference/evaluation.h"
#include "reference/reference.h"

namespace stepd::reference {
namespace {

// The loss of a case: {"kind": "eps" | "v", "weight": null | "minsnr", "loss": "l2" | "huber" | "huber_snr" | ..}.
struct LossCase {
    Prediction prediction = Prediction::epsilon;
    double gamma = 0;
    int kind = 0;  // of op diffusion_loss
    HuberSchedule schedule = HuberSchedule::constant;

    explicit LossCase(const nlohmann::json& params) {
        if (!params.contains("loss")) return;
        const nlohmann::json& loss = params.at("loss");
        if (loss.at("kind") == "v") prediction = Prediction::v_prediction;
        if (loss.at("weight") == "minsnr") gamma = 5;
        std::string type = loss.at("loss");
        if (type.ends_with("_snr")) schedule = HuberSchedule::snr;
        kind = type.starts_with("huber") ? 1 : type.starts_with("smooth_l1") ? 2 : 0;
    }
};

constexpr double kHuberC = 0.1;

// One sample's noisy latents, target, weight and Huber parameter after another.
struct Batch {
    std::vector<float> noisy, target, weight, c;
};

Batch make_batch(const LossCase& loss, const SafetensorsReader& arrays) {
    NoiseSchedule schedule{NoiseScheduleOptions{}};
    std::vector<float> x0 = floats(arrays.at("x0")), noise = floats(arrays.at("noise")), t = floats(arrays.at("t"));
    Batch batch{std::vector<float>(x0.size()), std::vector<float>(x0.size()), {}, {}};
    size_t sample = x0.size() / t.size();
    for (size_t i = 0; i < t.size(); ++i) {
        auto part = [&](std::vector<float>& v) { return std::span(v).subspan(i * sample, sample); };
        int64_t step = int64_t(t[i]);
        schedule.add_noise(step, part(x0), part(noise), part(batch.noisy));
        schedule.target(loss.prediction, step, part(x0), part(noise), part(batch.target));
        batch.weight.push_back(min_snr_weight(loss.prediction, schedule.snr(step), loss.gamma));
        double time = double(step) / double(schedule.train_timesteps());
        batch.c.push_back(huber_c(loss.schedule, kHuberC, time, schedule.sigma(step)));
    }
    return batch;
}

// Records forward part, loss and backward part.
void record_step(Evaluation& e, const Denoiser& denoiser, const LossCase& loss, const SafetensorsReader& arrays) {
    Batch batch = make_batch(loss, arrays);
    const SafeTensor &x0 = arrays.at("x0"), &text = arrays.at("text"), &mask = arrays.at("mask");
    Bucket bucket{x0.shape[0], x0.shape[2], x0.shape[3], text.shape[1]};
    std::vector<float> bias = floats(mask);
    for (float& v : bias) v = v == 0 ? denoiser.masked_text_bias() : 0.0f;
    ValueId prediction =
        denoiser.record(e.builder(), bucket, e.input("noisy", x0.shape, batch.noisy), e.input("t", arrays.at("t")),
                        e.input("text", text), e.input("text_bias", mask.shape, bias));
    ValueId value =
        e.builder().op("diffusion_loss",
                       {prediction, e.input("target", x0.shape, batch.target),
                        e.input("weight", {bucket.batch}, batch.weight), e.input("c", {bucket.batch}, batch.c)},
                       {{"kind", double(loss.kind)}});
    e.builder().output("loss", value);
    differentiate(e.graph(), value, e.input("seed", {1}, std::vector<float>{1}));
}

// Gradients that are zero in exact arithmetic are rounding noise: compared with a bound, and in float32 only.
Result compare(const Evaluation& e, const std::string& root, const nlohmann::json& entry, DType compute) {
    std::string suffix = compute == DType::f32 ? "fp32" : "bf16", name = entry.at("name");
    const nlohmann::json& bounds = entry.at("suggested").at(suffix);
    const nlohmann::json& params = entry.at("params");
    std::set<std::string> null = params.value("null_grads", std::set<std::string>{});
    SafetensorsReader expected(find_file(root, entry, "grads.safetensors"));
    Worst gradients, noise;
    for (const SafeTensor& tensor : expected.tensors()) {
        std::vector<float> actual = e.output(gradient_name(tensor.name));
        if (!null.count(tensor.name)) {
            gradients.add(relative_error(actual, tensor), tensor.name);
            continue;
        }
        for (float v : actual) noise.add(std::abs(double(v)), tensor.name);
    }
    Result result = report(name + " gradients " + suffix, gradients, bounds.at("grads"));
    if (compute == DType::f32 && noise.count() > 0) {
        constexpr double kNoiseFactor = 10;
        result += report(name + " null gradients", noise, kNoiseFactor * params.at("null_grad_max_abs").get<double>());
    }
    Worst loss;
    double wanted = read_json(find_file(root, entry, "loss.json")).at("fp32");
    loss.add(std::abs(double(e.output("loss")[0]) - wanted) / std::abs(wanted), "loss");
    return result += report(name + " loss " + suffix, loss, bounds.at("loss"));
}

}  // namespace

Result check_gradients(const std::string& root, const nlohmann::json& entry) {
    std::string name = entry.at("name");
    if (!name.starts_with("C/pixart-full")) return report_skip(name, "this family or adapter is not built in");
    std::string model = find_model(root, "transformer", "PixArtTransformer2DModel");
    STEPD_REQUIRE(!model.empty(), Code::not_found, root, ": no model has a PixArt transformer");
    Folder folder(model);
    SafetensorsReader weights(folder.path_of("transformer")), arrays(find_file(root, entry, "inputs.safetensors"));
    auto denoiser = find_family("", &folder).make_denoiser(folder.config("transformer"));
    Result result;
    for (DType compute : {DType::f32, DType::bf16}) {
        Evaluation e(compute, [](const std::string&) { return true; });
        record_step(e, *denoiser, LossCase(entry.at("params")), arrays);
        e.prepare();
        e.load(*denoiser, weights);
        e.run();
        result += compare(e, root, entry, compute);
    }
    return result;
}

}  // namespace stepd::reference

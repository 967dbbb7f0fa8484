// Section D: training runs of several steps under the random-number contract, through a whole Session.
#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "models/folder.h"
#include "reference/evaluation.h"
#include "reference/reference.h"
#include "train/session.h"

namespace stepd::reference {
namespace {

namespace fs = std::filesystem;

// A scratch folder, removed at the end.
class Scratch {
public:
    Scratch() {
        std::string pattern = (fs::temp_directory_path() / "stepd-reference-XXXXXX").string();
        STEPD_REQUIRE(mkdtemp(pattern.data()), Code::io, "cannot create ", pattern);
        path_ = pattern;
    }
    ~Scratch() {
        std::error_code ignored;
        fs::remove_all(path_, ignored);
    }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    std::string operator/(const std::string& name) const { return (path_ / name).string(); }

private:
    fs::path path_;
};

Tensor row(std::vector<float>& values, int64_t index, Shape shape) {
    return {values.data() + index * numel(shape), DType::f32, shape};
}

int64_t tokens_of(const std::vector<float>& mask, int64_t index, int64_t length) {
    int64_t n = 0;
    while (n < length && mask[size_t(index * length + n)] != 0) n++;
    return n;
}

// Writes the case's data set as the cache files of a session.
void write_samples(const SafetensorsReader& data, const Scratch& scratch, Session& session) {
    std::vector<float> mean = floats(data.at("mean")), logvar = floats(data.at("logvar")),
                       text = floats(data.at("text")), mask = floats(data.at("mask")),
                       empty = floats(data.at("empty.text")), empty_mask = floats(data.at("empty.mask"));
    const Shape all = data.at("mean").shape, latents = {all[1], all[2], all[3]};
    const int64_t length = data.at("text").shape[1], width = data.at("text").shape[2];
    auto write_text = [&](const std::string& file, std::vector<float>& values, int64_t index, int64_t tokens) {
        const Tensor padded = row(values, index, {length, width});
        write_safetensors(file, {source_of("embedding", {padded.data, DType::f32, {tokens, width}}, SafeType::f32)});
    };
    std::vector<SampleFiles> files;
    for (int64_t i = 0; i < all[0]; i++) {
        const std::string name = std::to_string(i) + ".safetensors";
        files.push_back({scratch / ("latents" + name), scratch / ("text" + name)});
        write_safetensors(files.back().latents, {source_of("mean", row(mean, i, latents), SafeType::f32),
                                                 source_of("logvar", row(logvar, i, latents), SafeType::f32)});
        write_text(files.back().text, text, i, tokens_of(mask, i, length));
    }
    write_text(scratch / "empty.safetensors", empty, 0, tokens_of(empty_mask, 0, length));
    session.set_samples(std::move(files), scratch / "empty.safetensors");
}

SessionConfig config_of(const nlohmann::json& params, const std::string& model, int64_t text_tokens, DType compute) {
    SessionConfig c;
    c.model = model;
    c.seed = params.at("seed");
    c.dtype = compute;
    c.weight_dtype = DType::f32;
    // The case's name for its loss is in its description only: the sampled run predicts velocity with min-SNR weights.
    if (params.at("sample").get<bool>()) {
        c.loss.prediction = "v_prediction";
        c.loss.snr_gamma = 5;
    } else {
        c.loss.prediction = "epsilon";
    }
    c.noise.sample_latents = params.at("sample");
    c.optimizer.name = params.at("optimizer");
    c.optimizer.lr = params.at("lr");
    c.optimizer.params["weight_decay"] = params.at("wd");
    c.schedule.name = params.at("lr_schedule");
    c.schedule.warmup = params.at("warmup");
    c.schedule.steps = params.at("steps");
    if (!params.at("clip_norm").is_null()) c.clip.norm = params.at("clip_norm");
    if (!params.at("ema").is_null()) {
        c.ema.emplace();
        c.ema->decay = params.at("ema").at("decay");
    }
    c.accumulation = params.at("accumulation");
    if (params.contains("dropout")) c.caption_dropout = params.at("dropout").at("caption");
    c.text_tokens = text_tokens;
    return c;
}

std::vector<TrainStep> steps_of(const nlohmann::json& log) {
    std::vector<TrainStep> steps;
    for (const auto& record : log.at("steps")) {
        TrainStep& step = steps.emplace_back();
        for (const auto& micro : record.at("micro")) step.batches.push_back({micro.at("k"), micro.at("indices")});
    }
    return steps;
}

// The mean loss of each step, and its gradient norm.
struct Curve {
    std::vector<float> loss, norm;
    explicit Curve(const nlohmann::json& log) {
        for (const auto& record : log.at("steps")) {
            double sum = 0;
            for (double v : record.at("losses")) sum += v;
            loss.push_back(float(sum / double(record.at("losses").size())));
            norm.push_back(record.at("grad_norm"));
        }
    }
    Curve() = default;
};

// Key biases have no true gradient; what is stored for them is rounding noise that the optimizer amplifies.
bool is_noise(const std::string& name) { return name.ends_with("to_k.bias"); }

Result compare_weights(const std::string& name, const nlohmann::json& bounds, const SafetensorsReader& got,
                       const SafetensorsReader& expected, const SafetensorsReader& start) {
    Worst values, change;
    for (const SafeTensor& tensor : expected.tensors()) {
        if (is_noise(tensor.name)) continue;
        std::vector<float> actual = floats(got.at(tensor.name)), wanted = floats(tensor);
        values.add(relative_error(actual, wanted), tensor.name);
        const std::vector<float> initial = floats(start.at(tensor.name));
        for (size_t i = 0; i < actual.size(); i++) {
            actual[i] -= initial[i];
            wanted[i] -= initial[i];
        }
        change.add(relative_error(actual, wanted), tensor.name);
    }
    Result result = report(name + " weights", values, bounds.at("final_weights"));
    return result += report(name + " weight change", change, bounds.at("weight_change"));
}

Result compare_average(const std::string& name, const nlohmann::json& bounds, const SafetensorsReader& got,
                       const std::string& expected_file) {
    const SafetensorsReader expected(expected_file);
    Worst worst;
    for (const SafeTensor& tensor : expected.tensors())
        if (!is_noise(tensor.name)) worst.add(relative_error(floats(got.at(tensor.name)), tensor), tensor.name);
    return report(name + " average", worst, bounds.at("final_weights"));
}

Result compare_curve(const std::string& name, const nlohmann::json& bounds, const Curve& got, const Curve& expected) {
    Worst loss, norm;
    loss.add(relative_error(got.loss, expected.loss), "losses");
    Result result = report(name + " losses", loss, bounds.at("losses"));
    if (!bounds.contains("grad_norms")) return result;
    norm.add(relative_error(got.norm, expected.norm), "gradient norms");
    return result += report(name + " gradient norms", norm, bounds.at("grad_norms"));
}

Result run_case(const std::string& root, const nlohmann::json& entry, const std::string& model, DType compute) {
    const Scratch scratch;
    const SafetensorsReader data(find_file(root, entry, "data.safetensors"));
    const std::string suffix = compute == DType::f32 ? "fp32" : "bf16";
    const std::string name = entry.at("name").get<std::string>() + " " + suffix;
    const nlohmann::json& bounds = entry.at("suggested").at(suffix);
    Curve curve;
    EventSink sink;
    sink.on_step = [&](const StepEvent& e) {
        curve.loss.push_back(float(e.loss));
        curve.norm.push_back(float(e.grad_norm));
    };
    Session session(config_of(entry.at("params"), model, data.at("text").shape[1], compute), sink);
    write_samples(data, scratch, session);
    session.train(steps_of(read_json(find_file(root, entry, "log.json"))));
    const char* log = compute == DType::f32 ? "log.json" : "log.bf16_master.json";
    Result result = compare_curve(name, bounds, curve, Curve(read_json(find_file(root, entry, log))));
    if (compute != DType::f32) return result;  // the reference keeps nothing else
    fs::create_directory(scratch / "saved");
    session.save(scratch / "saved");
    const SafetensorsReader weights(scratch / "saved/weights.safetensors"),
        expected(find_file(root, entry, "final.safetensors")), start(Folder(model).path_of("transformer"));
    result += compare_weights(name, bounds, weights, expected, start);
    const std::string average = find_file(root, entry, "ema.safetensors");
    if (!average.empty())
        result += compare_average(name, bounds, SafetensorsReader(scratch / "saved/ema.safetensors"), average);
    return result;
}

}  // namespace

Result check_trajectories(const std::string& root, const nlohmann::json& entry) {
    const std::string name = entry.at("name");
    if (!name.starts_with("D/pixart-full")) return report_skip(name, "this family is not built in");
    const std::string model = find_model(root, "transformer", "PixArtTransformer2DModel");
    STEPD_REQUIRE(!model.empty(), Code::not_found, root, ": no model has a PixArt transformer");
    Result result = run_case(root, entry, model, DType::f32);
    return result += run_case(root, entry, model, DType::bf16);
}

}  // namespace stepd::reference

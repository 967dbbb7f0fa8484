#include "train/checkpoint.h"

#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/file.h"
#include "io/safetensors.h"
#include "models/folder.h"

namespace stepd {
namespace {

constexpr int kFormat = 1;
constexpr const char *kWeights = "weights.safetensors", *kOptimizer = "optimizer.safetensors",
                     *kEma = "ema.safetensors", *kState = "state.json";

struct NamedTensor {
    std::string name;
    Tensor tensor;
};

struct CheckpointFile {
    const char* name;
    std::vector<NamedTensor> tensors;
};

// Everything that training changes, as views of the store.
std::vector<CheckpointFile> files_of(ParameterStore& store, const OptimizerMethod& method) {
    CheckpointFile weights{kWeights, {}}, optimizer{kOptimizer, {}}, ema{kEma, {}};
    for (const TrainedTensor& t : store.trained()) {
        weights.tensors.push_back({t.name, t.weight});
        for (size_t s = 0; s < t.state.size(); s++)
            optimizer.tensors.push_back(
                {t.name + "." + method.state[s].name, Tensor{t.state[s], method.state[s].dtype, t.weight.shape}});
        if (t.average) ema.tensors.push_back({t.name, Tensor{t.average, DType::f32, t.weight.shape}});
    }
    std::vector<CheckpointFile> files = {weights, optimizer};
    if (!ema.tensors.empty()) files.push_back(ema);
    return files;
}

void require_finite(const CheckpointFile& file) {
    for (const NamedTensor& t : file.tensors) {
        bool finite = true;
        const int64_t n = t.tensor.numel();
        if (t.tensor.dtype == DType::bf16)
            for (int64_t i = 0; i < n; i++) finite &= (t.tensor.bf16()[i].bits & 0x7f80) != 0x7f80;
        else
            for (int64_t i = 0; i < n; i++) finite &= std::isfinite(t.tensor.f32()[i]);
        STEPD_REQUIRE(
            finite, Code::numeric, file.name, ": ", t.name,
            " is not finite; the checkpoint was not written. Restore an earlier one with a lower learning rate");
    }
}

nlohmann::json state_of(const SessionConfig& config, int64_t step) {
    return {{"format", kFormat}, {"step", step}, {"seed", config.seed}, {"config", config_digest(config)}};
}

// Refuses a tensor that is missing, extra or of another shape or type.
void check_file(const std::string& path, const SafetensorsReader& reader, const CheckpointFile& file) {
    STEPD_REQUIRE(reader.tensors().size() == file.tensors.size(), Code::invalid, path, ": ", reader.tensors().size(),
                  " tensors, but the session trains ", file.tensors.size());
    for (const NamedTensor& t : file.tensors) {
        const SafeTensor& stored = reader.at(t.name);
        STEPD_REQUIRE(stored.shape == t.tensor.shape && stored.type == safe_type_of(t.tensor.dtype), Code::invalid,
                      path, ": tensor ", t.name, " is ", name_of(stored.type), " ", to_string(stored.shape),
                      ", but the session has ", name_of(t.tensor.dtype), " ", to_string(t.tensor.shape));
    }
}

// Names the settings in which a checkpoint and the session differ, with both values; see config_digest.
std::string differences(const std::string& saved, const std::string& wanted) {
    const nlohmann::json then = nlohmann::json::parse(saved, nullptr, false), now = nlohmann::json::parse(wanted);
    if (!then.is_object()) return saved;
    std::string text;
    for (const auto& [name, value] : now.items()) {
        const nlohmann::json before = then.contains(name) ? then.at(name) : nlohmann::json();
        if (before != value)
            text += (text.empty() ? "" : ", ") + name + " = " + before.dump() + ", not " + value.dump();
    }
    return text.empty() ? saved : text;
}

int64_t check_state(const std::string& path, const SessionConfig& config) {
    const nlohmann::json state = read_json(path);
    int64_t format = 0, step = -1;
    std::string digest;
    uint64_t seed = 0;
    JsonObject o(state, path);
    o.read("format", format);
    STEPD_REQUIRE(format == kFormat, Code::unsupported, path, ": format ", format, ", this version reads ", kFormat);
    o.read("step", step);
    o.read("config", digest);
    o.read("seed", seed);
    o.finish();
    STEPD_REQUIRE(step >= 0, Code::invalid, path, ": step = ", step);
    STEPD_REQUIRE(digest == config_digest(config), Code::invalid, path, ": the checkpoint was made with ",
                  differences(digest, config_digest(config)),
                  "; continue with the settings of the checkpoint, or train into another folder");
    STEPD_REQUIRE(seed == config.seed, Code::invalid, path, ": the checkpoint was made with seed ", seed, ", not ",
                  config.seed, "; continue with the seed of the checkpoint, or train into another folder");
    return step;
}

}  // namespace

std::vector<std::string> save_checkpoint(const std::string& dir, const SessionConfig& config,
                                         const OptimizerMethod& method, ParameterStore& store, int64_t step) {
    store.start_training();
    std::vector<std::string> names;
    const std::vector<CheckpointFile> files = files_of(store, method);
    for (const CheckpointFile& file : files) require_finite(file);
    for (const CheckpointFile& file : files) {
        std::vector<SafeTensorSource> sources;
        for (const NamedTensor& t : file.tensors)
            sources.push_back(source_of(t.name, t.tensor, safe_type_of(t.tensor.dtype)));
        write_safetensors(dir + "/" + file.name, sources);
        names.push_back(file.name);
    }
    AtomicFile state(dir + "/" + kState);
    state.write(state_of(config, step).dump(2) + "\n");
    state.commit();
    names.push_back(kState);
    return names;
}

int64_t restore_checkpoint(const std::string& dir, const SessionConfig& config, const OptimizerMethod& method,
                           ParameterStore& store) {
    const int64_t step = check_state(dir + "/" + kState, config);
    store.start_training();
    const std::vector<CheckpointFile> files = files_of(store, method);
    std::vector<std::unique_ptr<SafetensorsReader>> readers;
    for (const CheckpointFile& file : files) {
        const std::string path = dir + "/" + file.name;
        readers.push_back(std::make_unique<SafetensorsReader>(path));
        check_file(path, *readers.back(), file);
    }
    for (size_t f = 0; f < files.size(); f++)
        for (const NamedTensor& t : files[f].tensors) convert(readers[f]->at(t.name), t.tensor);
    return step;
}

}  // namespace stepd

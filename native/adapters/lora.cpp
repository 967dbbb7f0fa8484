// LoRA (Hu et al. 2021): y = W x + b + (alpha / rank) B A dropout(x), with A [rank, in] and B [out, rank].
#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "adapters/adapter.h"
#include "base/error.h"
#include "io/random.h"
#include "io/safetensors.h"
#include "nn/initial_values.h"

namespace stepd {

namespace {

const std::string kPrefix = "transformer.";
const std::string kMetadataKey = "lora_adapter_metadata";

class Lora : public Adapter {
public:
    explicit Lora(const AdapterOptions& options);

    const std::vector<ParameterSpec>& parameters() const override { return parameters_; }
    double dropout() const override { return o_.dropout; }
    void initialise(Generator& generator, std::span<float* const> parameters) const override;
    ValueId record(Builder& b, const std::string& path, ValueId x, ValueId base) const override;
    std::vector<AdapterTensor> export_tensors(std::span<const float* const> values) const override;
    std::map<std::string, std::string> export_metadata() const override;
    void import_file(const std::filesystem::path& file, std::span<float* const> parameters) const override;

private:
    double scale() const { return o_.alpha / double(o_.rank); }

    AdapterOptions o_;
    std::map<std::string, LinearModule> modules_;
    std::vector<ParameterSpec> parameters_;  // A and B of each module in turn
};

Lora::Lora(const AdapterOptions& options) : o_(options) {
    STEPD_REQUIRE(o_.rank >= 1, Code::invalid, "adapter.rank = ", o_.rank, " must be at least 1");
    STEPD_REQUIRE(std::isfinite(o_.alpha) && o_.alpha > 0, Code::invalid, "adapter.alpha = ", o_.alpha,
                  " must be positive; it is usually the rank");
    STEPD_REQUIRE(o_.dropout >= 0 && o_.dropout < 1, Code::invalid, "adapter.dropout = ", o_.dropout,
                  " must be in [0, 1)");
    STEPD_REQUIRE(!o_.modules.empty(), Code::invalid, "adapter.targets selects no module");
    for (const LinearModule& m : o_.modules) {
        modules_.emplace(m.path, m);
        parameters_.push_back({m.path + ".lora_A.weight", {o_.rank, m.in}, {}});
        parameters_.push_back({m.path + ".lora_B.weight", {m.out, o_.rank}, {}});
    }
}

// A as PEFT starts it, B zero: the first step sees the base model unchanged.
void Lora::initialise(Generator& generator, std::span<float* const> parameters) const {
    for (size_t i = 0; i < parameters_.size(); i += 2) {
        const Shape& a = parameters_[i].shape;
        nn::kaiming_uniform(generator, a[1], parameters[i], numel(a));
        std::fill_n(parameters[i + 1], numel(parameters_[i + 1].shape), 0.0f);
    }
}

// The scale is applied to the narrow product A x, where it costs least.
ValueId Lora::record(Builder& b, const std::string& path, ValueId x, ValueId base) const {
    auto it = modules_.find(path);
    if (it == modules_.end()) return base;
    const LinearModule& m = it->second;
    if (o_.dropout > 0) {
        ValueId mask = b.input(kDropoutInput + path, b.shape(x), DType::f32);
        x = b.mul(x, b.cast(mask, b.dtype(x)));
    }
    ValueId down = b.linear(x, b.weight(path + ".lora_A.weight", {o_.rank, m.in}));
    if (scale() != 1) down = b.scale(down, scale());
    return b.add(base, b.linear(down, b.weight(path + ".lora_B.weight", {m.out, o_.rank})));
}

// The scale goes into B, so that the file means the same to loaders that ignore its metadata.
std::vector<AdapterTensor> Lora::export_tensors(std::span<const float* const> values) const {
    std::vector<AdapterTensor> out;
    for (size_t i = 0; i < parameters_.size(); ++i) {
        const ParameterSpec& p = parameters_[i];
        AdapterTensor tensor{kPrefix + p.name, p.shape, std::vector<float>(values[i], values[i] + numel(p.shape))};
        if (i % 2 == 1) {
            for (float& v : tensor.data) v = float(v * scale());
        }
        out.push_back(std::move(tensor));
    }
    return out;
}

std::map<std::string, std::string> Lora::export_metadata() const {
    nlohmann::json targets = nlohmann::json::array();
    for (const LinearModule& m : o_.modules) targets.push_back(m.path);
    nlohmann::json config = {{kPrefix + "peft_type", "LORA"},      {kPrefix + "r", o_.rank},
                             {kPrefix + "lora_alpha", o_.rank},    {kPrefix + "lora_dropout", o_.dropout},
                             {kPrefix + "bias", "none"},           {kPrefix + "use_rslora", false},
                             {kPrefix + "use_dora", false},        {kPrefix + "init_lora_weights", true},
                             {kPrefix + "target_modules", targets}};
    return {{"format", "pt"}, {kMetadataKey, config.dump(2)}};
}

// What a LoRA file multiplies B A with: alpha / rank of its metadata, 1 without.
double metadata_scale(const std::filesystem::path& file, const SafeMetadata& metadata, int64_t rank) {
    auto it = metadata.find(kMetadataKey);
    if (it == metadata.end()) return 1;
    nlohmann::json config = nlohmann::json::parse(it->second, nullptr, false);
    STEPD_REQUIRE(config.is_object(), Code::invalid, file.string(), ": metadata ", kMetadataKey,
                  " is not a JSON object");
    for (const char* key : {"use_rslora", "use_dora"}) {
        auto flag = config.find(kPrefix + key);
        STEPD_REQUIRE(flag == config.end() || *flag == false, Code::unsupported, file.string(), ": metadata ", key,
                      " is set; only plain LoRA can be loaded");
    }
    for (const char* key : {"rank_pattern", "alpha_pattern"}) {
        auto pattern = config.find(kPrefix + key);
        STEPD_REQUIRE(pattern == config.end() || pattern->empty(), Code::unsupported, file.string(), ": metadata ", key,
                      " is set; one rank and one alpha for all modules can be loaded");
    }
    auto alpha = config.find(kPrefix + "lora_alpha");
    return alpha != config.end() && alpha->is_number() ? alpha->get<double>() / double(rank) : 1;
}

// A tensor of the file under its name with or without the "transformer." prefix.
const SafeTensor* find_tensor(const SafetensorsReader& reader, const std::string& name) {
    const SafeTensor* tensor = reader.find(kPrefix + name);
    return tensor ? tensor : reader.find(name);
}

void Lora::import_file(const std::filesystem::path& file, std::span<float* const> parameters) const {
    SafetensorsReader reader(file.string());
    double all = metadata_scale(file, reader.metadata(), o_.rank);
    std::set<const SafeTensor*> used;
    for (size_t i = 0; i < parameters_.size(); ++i) {
        const ParameterSpec& p = parameters_[i];
        const SafeTensor* tensor = find_tensor(reader, p.name);
        STEPD_REQUIRE(tensor, Code::invalid, file.string(), ": tensor ", kPrefix, p.name, " is missing");
        STEPD_REQUIRE(tensor->shape == p.shape, Code::invalid, file.string(), ": tensor ", tensor->name, " has shape ",
                      to_string(tensor->shape), ", rank ", o_.rank, " asks for ", to_string(p.shape));
        used.insert(tensor);
        convert(*tensor, 0, tensor->elements(), parameters[i], DType::f32);
        if (i % 2 == 0) continue;
        double factor = all;
        std::string module = p.name.substr(0, p.name.rfind(".lora_B"));
        if (const SafeTensor* alpha = find_tensor(reader, module + ".alpha")) {
            STEPD_REQUIRE(alpha->elements() == 1, Code::invalid, file.string(), ": tensor ", alpha->name, " has shape ",
                          to_string(alpha->shape), ", expected a single number");
            float value = 0;
            convert(*alpha, 0, 1, &value, DType::f32);
            factor = double(value) / double(o_.rank);
            used.insert(alpha);
        }
        if (factor == scale()) continue;
        for (int64_t k = 0; k < tensor->elements(); ++k)
            parameters[i][k] = float(parameters[i][k] * (factor / scale()));
    }
    for (const SafeTensor& tensor : reader.tensors()) {
        STEPD_REQUIRE(used.count(&tensor), Code::invalid, file.string(), ": tensor ", tensor.name,
                      " belongs to no module that adapter.targets selects");
    }
}

}  // namespace

std::unique_ptr<Adapter> make_lora(const AdapterOptions& options) { return std::make_unique<Lora>(options); }

}  // namespace stepd

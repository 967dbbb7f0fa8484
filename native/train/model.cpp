#include "train/model.h"

#include <algorithm>

#include "base/error.h"
#include "io/draws.h"
#include "io/random.h"
#include "io/safetensors.h"
#include "train/parameters.h"

namespace stepd {
namespace {

// Which modules an adapter file has factors for, and their rank: what a session that only samples needs to know.
AdapterOptions options_of_file(const AdapterConfig& config, const Denoiser& denoiser) {
    SafetensorsReader reader(config.init);
    AdapterOptions options;
    options.type = config.type;
    for (const LinearModule& module : denoiser.linear_modules()) {
        const SafeTensor* down = reader.find("transformer." + module.path + ".lora_A.weight");
        if (!down) continue;
        STEPD_REQUIRE(down->shape.size() == 2, Code::invalid, config.init, ": tensor ", down->name, " has shape ",
                      to_string(down->shape), ", expected [rank, ", module.in, "]");
        STEPD_REQUIRE(options.rank == 0 || options.rank == down->shape.at(0), Code::unsupported, config.init,
                      ": the modules have different ranks");
        options.rank = down->shape.at(0);
        options.modules.push_back(module);
    }
    STEPD_REQUIRE(options.rank > 0, Code::invalid, config.init,
                  ": no LoRA factors for this model (transformer.<module>.lora_A.weight)");
    options.alpha = double(options.rank);
    return options;
}

AdapterOptions options_of(const AdapterConfig& config, const Denoiser& denoiser) {
    if (config.rank == 0 && !config.init.empty()) return options_of_file(config, denoiser);
    AdapterOptions options;
    options.type = config.type;
    options.rank = config.rank;
    options.alpha = config.alpha;
    options.dropout = config.dropout;
    options.modules =
        adapter_modules(denoiser, config.targets.empty() ? denoiser.default_adapter_targets() : config.targets);
    return options;
}

// Runs `fill` on f32 memory for each tensor, then stores the values in the tensor's own dtype.
template <class Fill>
void fill_f32(std::vector<Tensor>& tensors, const Fill& fill) {
    std::vector<std::vector<float>> values;
    std::vector<float*> pointers;
    for (const Tensor& t : tensors) {
        values.emplace_back(size_t(t.numel()));
        pointers.push_back(values.back().data());
    }
    fill(pointers);
    for (size_t i = 0; i < tensors.size(); i++)
        copy_values(Tensor{values[i].data(), DType::f32, tensors[i].shape}, tensors[i]);
}

}  // namespace

Model::Model(const SessionConfig& config)
    : folder(config.model),
      family(find_family(config.family, &folder)),
      denoiser(family.make_denoiser(folder.config("transformer"))),
      scheduler(folder.config("scheduler")) {
    const auto autoencoder = family.make_autoencoder(folder.config("vae"));
    STEPD_REQUIRE(autoencoder->latent_channels() == denoiser->latent_channels(), Code::invalid, config.model,
                  ": the vae has ", autoencoder->latent_channels(), " latent channels and the transformer ",
                  denoiser->latent_channels());
    latent_scale = {autoencoder->shift_factor(), autoencoder->scaling_factor()};
    latent_factor = autoencoder->factor();
    if (!config.adapter) return;
    AdapterOptions options = options_of(*config.adapter, *denoiser);
    adapter_modules = options.modules;
    adapter = make_adapter(options);
    options.dropout = 0;
    sampling_adapter = make_adapter(options);
}

void load_model(const Model& model, const SessionConfig& config, ParameterStore& store,
                const Cancellation* cancellation) {
    const ParameterLayout& layout = store.layout();
    const ParameterSpec* first = model.denoiser->parameters().data();
    load_weights(SafetensorsReader(model.folder.path_of("transformer")), *model.denoiser,
                 [&](const ParameterSpec& spec) {
                     if (cancellation) cancellation->check("loading the model");
                     return store.weight(size_t(&spec - first));
                 });
    if (!model.adapter) return;
    std::vector<Tensor> factors;
    for (size_t i = layout.base_count(); i < layout.entries().size(); i++) factors.push_back(store.weight(i));
    fill_f32(factors, [&](const std::vector<float*>& pointers) {
        if (config.adapter->init.empty()) {
            Generator generator(adapter_init_seed(config.seed));
            model.adapter->initialise(generator, pointers);
        } else {
            model.adapter->import_file(config.adapter->init, pointers);
        }
    });
}

}  // namespace stepd

// Section B: single components, forward only, in float32 and in bfloat16.
#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "models/autoencoder_kl.h"
#include "models/folder.h"
#include "models/t5.h"
#include "reference/evaluation.h"
#include "reference/reference.h"

namespace stepd::reference {

Result check_schedules(const std::string& root, const nlohmann::json& entry);  // schedules.cpp

namespace {

constexpr DType kTypes[] = {DType::f32, DType::bf16};

// The manifest's bound for one file of arrays; each is compared with the float32 arrays.
double tolerance(const nlohmann::json& entry, DType compute, const std::string& what) {
    return entry.at("suggested").at(compute == DType::f32 ? "fp32" : "bf16").at(what);
}

std::string label(const nlohmann::json& entry, DType compute, const std::string& what) {
    return entry.at("name").get<std::string>() + " " + what + (compute == DType::f32 ? " fp32" : " bf16");
}

// Compares every array "out.NAME" that the evaluation produced.
Result compare_outputs(const Evaluation& evaluation, const SafetensorsReader& arrays, const nlohmann::json& entry,
                       DType compute, const std::string& what) {
    Worst worst;
    for (const SafeTensor& expected : arrays.tensors()) {
        if (!expected.name.starts_with("out.")) continue;
        std::string name = expected.name.substr(4);
        if (evaluation.has_output(name)) worst.add(relative_error(evaluation.output(name), expected), name);
    }
    return report(label(entry, compute, what), worst, tolerance(entry, compute, what));
}

std::vector<float> bias_of(const SafeTensor& mask, float masked) {
    std::vector<float> bias = floats(mask);
    for (float& v : bias) v = v == 0 ? masked : 0.0f;
    return bias;
}

Result check_t5(const std::string& root, const nlohmann::json& entry) {
    Folder folder(std::filesystem::path(root) / "models" / entry.at("params").at("model").get<std::string>());
    std::string component = folder.class_of("text_encoder") == "T5EncoderModel" ? "text_encoder" : "text_encoder_2";
    SafetensorsReader weights(folder.path_of(component));
    auto encoder = make_t5(folder.config(component));
    Result result;
    for (const char* what : {"prompts", "long"}) {
        SafetensorsReader arrays(find_file(root, entry, std::string(what) + ".safetensors"));
        const SafeTensor& ids = arrays.at("in.ids");
        std::vector<int32_t> tokens(size_t(ids.elements()));
        convert(ids, 0, ids.elements(), tokens.data(), DType::i32);
        for (DType compute : kTypes) {
            Evaluation e(compute);
            e.observe(arrays, "out.");
            const SafeTensor* mask = arrays.find("in.mask");
            ValueId bias = mask ? e.input("key_bias", mask->shape, bias_of(*mask, encoder->masked_key_bias())) : kNone;
            e.builder().output("last", encoder->record(e.builder(), e.input("ids", ids.shape, tokens), bias));
            e.prepare();
            e.load(*encoder, weights);
            e.run();
            result += compare_outputs(e, arrays, entry, compute, what);
        }
    }
    return result;
}

Result check_vae(const std::string& root, const nlohmann::json& entry) {
    Folder folder(std::filesystem::path(root) / "models" / entry.at("params").at("model").get<std::string>());
    SafetensorsReader weights(folder.path_of("vae"));
    auto vae = make_autoencoder_kl(folder.config("vae"));
    SafetensorsReader encoded(find_file(root, entry, "encode.safetensors"));
    SafetensorsReader decoded(find_file(root, entry, "decode.safetensors"));
    Result result;
    for (DType compute : kTypes) {
        Evaluation encode(compute);
        LatentMoments moments = vae->record_encode(encode.builder(), encode.input("image", encoded.at("in.image")));
        encode.builder().output("mean", moments.mean);
        encode.builder().output("logvar", moments.logvar);
        encode.prepare();
        encode.load(*vae, weights);
        encode.run();
        Worst worst;
        std::vector<float> logvar = encode.output("logvar");
        for (float& v : logvar) v = std::clamp(v, -30.0f, 20.0f);
        worst.add(relative_error(encode.output("mean"), encoded.at("out.mean")), "mean");
        worst.add(relative_error(logvar, encoded.at("out.logvar")), "logvar");
        result += report(label(entry, compute, "encode"), worst, tolerance(entry, compute, "encode"));

        Evaluation decode(compute);
        ValueId image = vae->record_decode(decode.builder(), decode.input("z", decoded.at("in.z")));
        decode.builder().output("image", image);
        decode.prepare();
        decode.load(*vae, weights);
        decode.run();
        result += compare_outputs(decode, decoded, entry, compute, "decode");
    }
    return result;
}

// Records the denoiser on the arrays in.latents, in.t, in.text and `mask`.
ValueId record_denoiser(Evaluation& e, const Denoiser& denoiser, const SafetensorsReader& arrays,
                        const std::vector<float>& bias) {
    const SafeTensor &latents = arrays.at("in.latents"), &text = arrays.at("in.text");
    Bucket bucket{latents.shape[0], latents.shape[2], latents.shape[3], text.shape[1]};
    return denoiser.record(e.builder(), bucket, e.input("latents", latents), e.input("t", arrays.at("in.t")),
                           e.input("text", text), e.input("text_bias", {bucket.batch, bucket.text_tokens}, bias));
}

// The reference keeps the learned-variance channels of the prediction [B,2C,h,w]; the denoiser drops them.
double prediction_error(const std::vector<float>& actual, const SafeTensor& expected) {
    std::vector<float> all = floats(expected), kept;
    size_t batch = size_t(expected.shape.at(0)), stride = all.size() / batch, own = actual.size() / batch;
    STEPD_REQUIRE(own <= stride, Code::invalid, "array ", expected.name, " is smaller than the prediction");
    for (size_t i = 0; i < batch; ++i) {
        kept.insert(kept.end(), all.begin() + long(i * stride), all.begin() + long(i * stride + own));
    }
    return relative_error(actual, kept);
}

Result check_forward(const nlohmann::json& entry, const Denoiser& denoiser, const SafetensorsReader& weights,
                     const SafetensorsReader& arrays) {
    Result result;
    for (DType compute : kTypes) {
        Evaluation e(compute);
        e.observe(arrays, "out.");
        std::vector<float> bias = bias_of(arrays.at("in.mask"), denoiser.masked_text_bias());
        e.builder().output("prediction", record_denoiser(e, denoiser, arrays, bias));
        e.prepare();
        e.load(denoiser, weights);
        e.run();
        Worst worst;
        worst.add(prediction_error(e.output("prediction"), arrays.at("out.out")), "out");
        for (const SafeTensor& expected : arrays.tensors()) {
            std::string name = expected.name.substr(expected.name.find('.') + 1);
            if (!expected.name.starts_with("out.") || !e.has_output(name)) continue;
            worst.add(relative_error(e.output(name), expected), name);
        }
        result += report(label(entry, compute, "forward"), worst, tolerance(entry, compute, "forward"));
    }
    return result;
}

Result check_empty_mask(const nlohmann::json& entry, const Denoiser& denoiser, const SafetensorsReader& weights,
                        const SafetensorsReader& arrays) {
    Result result;
    for (DType compute : kTypes) {
        Worst worst;
        for (const char* which : {"ones", "zeros"}) {
            Evaluation e(compute);
            float value = std::string(which) == "ones" ? 0 : denoiser.masked_text_bias();
            std::vector<float> bias(size_t(arrays.at("in.mask").elements()), value);
            e.builder().output("prediction", record_denoiser(e, denoiser, arrays, bias));
            e.prepare();
            e.load(denoiser, weights);
            e.run();
            worst.add(prediction_error(e.output("prediction"), arrays.at(std::string("out.") + which)), which);
        }
        result += report(label(entry, compute, "empty_mask"), worst, tolerance(entry, compute, "empty_mask"));
    }
    return result;
}

Result check_transformer(const std::string& root, const nlohmann::json& entry) {
    std::string model = find_model(root, "transformer", "PixArtTransformer2DModel");
    STEPD_REQUIRE(!model.empty(), Code::not_found, root, ": no model has a PixArt transformer");
    Folder folder(model);
    SafetensorsReader weights(folder.path_of("transformer"));
    auto denoiser = find_family("", &folder).make_denoiser(folder.config("transformer"));
    Result result =
        check_forward(entry, *denoiser, weights, SafetensorsReader(find_file(root, entry, "forward.safetensors")));
    std::string empty_mask = find_file(root, entry, "empty_mask.safetensors");
    if (!empty_mask.empty()) result += check_empty_mask(entry, *denoiser, weights, SafetensorsReader(empty_mask));
    return result;
}

}  // namespace

Result check_component_outputs(const std::string& root, const nlohmann::json& entry) {
    std::string name = entry.at("name");
    if (name.starts_with("B/t5-")) return check_t5(root, entry);
    if (name.starts_with("B/vae-")) return check_vae(root, entry);
    if (name.starts_with("B/schedules")) return check_schedules(root, entry);
    if (name.starts_with("B/pixart-transformer")) return check_transformer(root, entry);
    return report_skip(name, "this component is not built in");
}

}  // namespace stepd::reference

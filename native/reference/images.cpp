// Section I: Pillow's decoding, orientation, resize and crop. All of it must match to the last bit.
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/image.h"
#include "io/random.h"
#include "io/safetensors.h"
#include "reference/reference.h"

namespace stepd::reference {
namespace {

// Largest difference of a sample from the uint8 array [height, width, 3]; infinite when the sizes differ.
double compare(const SafeTensor& expected, const Image& image) {
    if (expected.type != SafeType::u8 || expected.shape != Shape{image.height, image.width, 3}) return INFINITY;
    int worst = 0;
    for (size_t i = 0; i < image.pixels.size(); i++) {
        worst = std::max(worst, std::abs(int(image.pixels[i]) - std::to_integer<int>(expected.bytes[i])));
    }
    return worst;
}

Image image_of(const SafeTensor& tensor) {
    STEPD_REQUIRE(tensor.type == SafeType::u8 && tensor.shape.size() == 3 && tensor.shape[2] == 3, Code::invalid,
                  "array ", tensor.name, " is not a picture");
    Image image(int(tensor.shape[1]), int(tensor.shape[0]));
    std::memcpy(image.pixels.data(), tensor.bytes.data(), image.pixels.size());
    return image;
}

// The parts of a name <file>|<what>|<width>x<height>.
struct Label {
    std::string file, what;
    int width = 0, height = 0;

    explicit Label(const std::string& name) {
        size_t second = name.rfind('|'), first = name.rfind('|', second - 1), times = name.find('x', second);
        STEPD_REQUIRE(first != name.npos && times != name.npos, Code::invalid, "array ", name,
                      " has an unexpected name");
        file = name.substr(0, first);
        what = name.substr(first + 1, second - first - 1);
        width = std::stoi(name.substr(second + 1, times - second - 1));
        height = std::stoi(name.substr(times + 1));
    }
};

Result check_decode(const std::string& folder, const nlohmann::json& entry, const std::string& arrays) {
    Worst decoded, probed;
    SafetensorsReader expected(arrays);
    for (const SafeTensor& tensor : expected.tensors()) {
        std::string path = find_file(folder, entry, tensor.name);
        STEPD_REQUIRE(!path.empty(), Code::not_found, "the case does not list the file ", tensor.name);
        decoded.add(compare(tensor, decode_image(path)), tensor.name);
        ImageInfo info = probe_image(path);
        probed.add(info.width == tensor.shape.at(1) && info.height == tensor.shape.at(0) ? 0 : 1, tensor.name);
    }
    Result result = report(std::string(entry.at("name")) + " pixels", decoded, 0);
    return result += report(std::string(entry.at("name")) + " size", probed, 0);
}

Result check_resize(const std::string& folder, const nlohmann::json& entry, const std::string& arrays) {
    Worst worst;
    SafetensorsReader expected(arrays), sources(find_file(folder, entry, "src.safetensors"));
    for (const SafeTensor& tensor : expected.tensors()) {
        Label label(tensor.name);
        ResizeFilter filter = ResizeFilter::lanczos;
        if (label.what == "BICUBIC")
            filter = ResizeFilter::bicubic;
        else if (label.what == "BILINEAR")
            filter = ResizeFilter::bilinear;
        else if (label.what == "BOX")
            filter = ResizeFilter::box;
        else
            STEPD_REQUIRE(label.what == "LANCZOS", Code::invalid, "array ", tensor.name, ": unknown filter ",
                          label.what);
        Image image = resize(image_of(sources.at(label.file)), label.width, label.height, filter);
        worst.add(compare(tensor, image), tensor.name);
    }
    return report(entry.at("name"), worst, 0);
}

// The pictures of the bucket case are those of the decode case beside it.
Result check_bucket(const std::string& folder, const nlohmann::json& entry, const std::string& arrays) {
    namespace fs = std::filesystem;
    Worst plans, crops;
    SafetensorsReader expected(arrays);
    fs::path pictures = fs::path(arrays).parent_path().parent_path() / "decode" / "src";
    for (const nlohmann::json& plan : read_json(find_file(folder, entry, "plan.json"))) {
        std::string name = plan.at("name");
        Label label(name);
        Image image = decode_image((pictures / label.file).string());
        ImageSize size = cover_size(image.width, image.height, label.width, label.height);
        int left = (size.width - label.width) / 2, top = (size.height - label.height) / 2;
        if (label.what == "random") {
            Generator generator(plan.at("seed"));
            left = int(generator.randint(0, size.width - label.width + 1, 1)[0]);
            top = int(generator.randint(0, size.height - label.height + 1, 1)[0]);
        }
        bool planned = plan.at("resized") == nlohmann::json{size.width, size.height} && plan.at("left") == left &&
                       plan.at("top") == top;
        plans.add(planned ? 0 : 1, name);
        Image resized = resize(image, size.width, size.height, ResizeFilter::lanczos);
        crops.add(compare(expected.at(name), crop(resized, left, top, label.width, label.height)), name);
    }
    Result result = report(std::string(entry.at("name")) + " plan", plans, 0);
    return result += report(std::string(entry.at("name")) + " pixels", crops, 0);
}

}  // namespace

Result check_images(const std::string& folder, const nlohmann::json& entry) {
    using Check = Result (*)(const std::string&, const nlohmann::json&, const std::string&);
    const std::pair<const char*, Check> checks[] = {
        {"rgb.safetensors", check_decode}, {"resized.safetensors", check_resize}, {"crops.safetensors", check_bucket}};
    for (auto [file, check] : checks) {
        std::string arrays = find_file(folder, entry, file);
        if (!arrays.empty()) return check(folder, entry, arrays);
    }
    return report_skip(entry.at("name"), "no check for its files");
}

}  // namespace stepd::reference

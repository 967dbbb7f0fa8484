#include <lcms2.h>

#include <algorithm>
#include <memory>

#include "io/file.h"
#include "io/image.h"
#include "io/image_metadata.h"

namespace stepd {
namespace {

using detail::ImageMetadata;

bool swaps_sides(int orientation) { return orientation >= 5; }

void check_limits(const ImageMetadata& metadata, const std::string& name, const DecodeOptions& options) {
    uint64_t pixels = uint64_t(metadata.width) * metadata.height;
    if (std::max(metadata.width, metadata.height) > uint32_t(INT32_MAX) || pixels > uint64_t(options.max_pixels)) {
        STEPD_IMAGE_ERROR(name, "has ", metadata.width, " x ", metadata.height, " pixels, more than the limit of ",
                          options.max_pixels);
    }
}

// Undoes an EXIF orientation (2..8): pixel (x, y) of the result comes from (x, y), or (y, x) where the sides swap,
// counted from the right or the bottom where flipped.
Image orient(const Image& image, int orientation) {
    bool swap = swaps_sides(orientation);
    bool flip_x = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    bool flip_y = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    Image out(swap ? image.height : image.width, swap ? image.width : image.height);
    for (int y = 0; y < out.height; y++) {
        uint8_t* to = out.row(y);
        for (int x = 0; x < out.width; x++) {
            int from_x = swap ? y : x, from_y = swap ? x : y;
            if (flip_x) from_x = image.width - 1 - from_x;
            if (flip_y) from_y = image.height - 1 - from_y;
            std::copy_n(image.row(from_y) + 3 * from_x, 3, to + 3 * x);
        }
    }
    return out;
}

void convert_to_srgb(Image& image, const std::vector<std::byte>& icc) {
    using Profile = std::unique_ptr<void, cmsBool (*)(cmsHPROFILE)>;
    Profile source(cmsOpenProfileFromMem(icc.data(), cmsUInt32Number(icc.size())), cmsCloseProfile);
    Profile srgb(cmsCreate_sRGBProfile(), cmsCloseProfile);
    if (!source || !srgb) return;
    cmsColorSpaceSignature space = cmsGetColorSpace(source.get());
    if (space != cmsSigRgbData && space != cmsSigGrayData) return;
    bool gray = space == cmsSigGrayData;
    std::unique_ptr<void, void (*)(cmsHTRANSFORM)> transform(
        cmsCreateTransform(source.get(), gray ? TYPE_GRAY_8 : TYPE_RGB_8, srgb.get(), TYPE_RGB_8, INTENT_PERCEPTUAL, 0),
        cmsDeleteTransform);
    if (!transform) return;
    std::vector<uint8_t> row(size_t(image.width) * 3);
    for (int y = 0; y < image.height; y++) {
        uint8_t* pixels = image.row(y);
        for (int x = 0; x < image.width; x++) {
            if (gray) row[size_t(x)] = pixels[3 * x];
        }
        if (!gray) std::copy_n(pixels, row.size(), row.begin());
        cmsDoTransform(transform.get(), row.data(), pixels, cmsUInt32Number(image.width));
    }
}

}  // namespace

const char* name_of(ImageFormat format) {
    return format == ImageFormat::jpeg ? "jpeg" : format == ImageFormat::png ? "png" : "webp";
}

ImageInfo probe_image(const std::string& path, const DecodeOptions& options) {
    MappedFile file(path, options.max_bytes);
    ImageMetadata metadata = detail::read_image_metadata(file.bytes(), path);
    check_limits(metadata, path, options);
    ImageInfo info{metadata.format, int(metadata.width), int(metadata.height)};
    if (swaps_sides(metadata.orientation)) std::swap(info.width, info.height);
    return info;
}

Image decode_image(const std::string& path, const DecodeOptions& options) {
    return decode_image(MappedFile(path, options.max_bytes).bytes(), path, options);
}

Image decode_image(std::span<const std::byte> bytes, const std::string& name, const DecodeOptions& options) {
    ImageMetadata metadata = detail::read_image_metadata(bytes, name);
    check_limits(metadata, name, options);
    auto decode = metadata.format == ImageFormat::jpeg  ? detail::decode_jpeg
                  : metadata.format == ImageFormat::png ? detail::decode_png
                                                        : detail::decode_webp;
    Image image = decode(bytes, metadata, name);
    if (options.to_srgb && !metadata.icc.empty()) convert_to_srgb(image, metadata.icc);
    return metadata.orientation == 1 ? std::move(image) : orient(image, metadata.orientation);
}

}  // namespace stepd

#include "io/image.h"

#include <gtest/gtest.h>
#include <lcms2.h>
#include <png.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "reference/reference.h"
#include "tests/temporary_folder.h"

namespace stepd {
namespace {

const std::string kTestData = std::string(STEPD_SOURCE_DIR) + "/native/tests/testdata/";
const std::string kPictures = kTestData + "formats/cases/I/formats/src/";
const std::string kReferencePictures = kTestData + "reference/cases/I/decode/src/";

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

Image pattern(int width, int height) {
    Image image(width, height);
    uint32_t state = 5;
    for (uint8_t& v : image.pixels) v = uint8_t((state = state * 1664525 + 1013904223) >> 24);
    return image;
}

void expect_error(const std::string& bytes, Code code, const std::string& named, const DecodeOptions& options = {}) {
    try {
        decode_image(bytes_of(bytes), "picture-name", options);
        ADD_FAILURE() << "accepted, expected an error about " << named;
    } catch (const Error& error) {
        std::string message = error.what();
        EXPECT_EQ(error.code(), code) << message;
        EXPECT_NE(message.find("picture-name"), message.npos) << message;
        EXPECT_NE(message.find(named), message.npos) << message;
    }
}

TEST(Image, DecodesResizesAndCropsAsPillow) {
    reference::Result result = reference::run(kTestData + "reference", "I");
    EXPECT_EQ(result.failed, 0);
    EXPECT_EQ(result.passed, 5);
}

// Every PNG pixel format, orientation from every kind of metadata, WebP and JPEG variants.
TEST(Image, DecodesEveryFormatAsPillow) {
    reference::Result result = reference::run(kTestData + "formats", "I");
    EXPECT_EQ(result.failed, 0);
    EXPECT_EQ(result.passed, 2);
}

TEST(Image, ProbeGivesFormatAndOrientedSize) {
    ImageInfo info = probe_image(kPictures + "exif7.webp");
    EXPECT_EQ(info.format, ImageFormat::webp);
    EXPECT_EQ(info.width, 21);
    EXPECT_EQ(info.height, 29);
    EXPECT_STREQ(name_of(probe_image(kPictures + "ss0.jpg").format), "jpeg");
    EXPECT_STREQ(name_of(probe_image(kPictures + "c2d8.png").format), "png");
}

TEST(Image, LimitsAreKept) {
    std::string picture = kPictures + "ss0.jpg";  // 29 x 21
    EXPECT_NO_THROW(decode_image(picture, {.max_pixels = 29 * 21}));
    EXPECT_THROW(decode_image(picture, {.max_pixels = 29 * 21 - 1}), Error);
    EXPECT_THROW(probe_image(picture, {.max_pixels = 29 * 21 - 1}), Error);
    EXPECT_THROW(decode_image(picture, {.max_bytes = 100}), Error);
    EXPECT_THROW(decode_image(kPictures + "absent.png"), Error);
    EXPECT_THROW(decode_image(kPictures), Error);  // a folder
}

TEST(Image, RefusesWhatIsNoPicture) {
    expect_error("", Code::invalid, "empty");
    expect_error("GIF89a..........", Code::unsupported, "not a JPEG, PNG or WebP");
    expect_error("\xff\xd8\xff", Code::invalid, "before the image data");
    expect_error("\x89PNG\r\n\x1a\n", Code::invalid, "PNG header");
    expect_error("RIFF\x10\0\0\0WEBP", Code::unsupported, "not a JPEG, PNG or WebP");  // literal ends at the zero byte
    expect_error(std::string("RIFF\x10\0\0\0WEBP", 12), Code::invalid, "WebP header");
    expect_error(std::string("RIFF\x10\0\0\0WEBPVP8Z", 16), Code::invalid, "VP8");
}

TEST(Image, RefusesDecompressionBombs) {
    std::string png = read_file(kPictures + "c2d8.png"), jpeg = read_file(kPictures + "ss0.jpg");
    png.replace(16, 8, std::string("\0\1\0\0\0\1\0\0", 8));  // 65536 x 65536
    expect_error(png, Code::invalid, "65536 x 65536");
    png.replace(16, 8, std::string("\xff\xff\xff\xff\xff\xff\xff\xff", 8));
    expect_error(png, Code::invalid, "limit");
    size_t frame = jpeg.find("\xff\xc0");
    ASSERT_NE(frame, jpeg.npos);
    jpeg.replace(frame + 5, 4, "\xff\xff\xff\xff");
    expect_error(jpeg, Code::invalid, "65535 x 65535");
    std::string webp = read_file(kPictures + "lossy_alpha.webp");
    webp.replace(24, 6, "\xff\xff\xff\xff\xff\xff");
    expect_error(webp, Code::invalid, "limit");
}

TEST(Image, RefusesHeadersThatContradictTheData) {
    std::string jpeg = read_file(kPictures + "ss0.jpg"), webp = read_file(kPictures + "lossy_alpha.webp");
    webp[24] = 60;  // canvas width
    expect_error(webp, Code::invalid, "WebP");
    size_t frame = jpeg.find("\xff\xc0");
    jpeg.replace(frame + 5, 4, std::string("\0\0\0\0", 4));
    expect_error(jpeg, Code::invalid, "no size");
    std::string png = read_file(kPictures + "c2d8.png");
    png[19] = 12;  // width without its checksum
    expect_error(png, Code::invalid, "PNG");
}

// Truncated pictures are refused; bytes after the last row may be missing where Pillow accepts that too.
TEST(Image, TruncatedFilesGiveAnError) {
    for (const char* name : {"c2d8.png", "c3d4i.png", "ss2.jpg", "progressive_cmyk.jpg", "lossy.webp",
                             "lossless_alpha.webp", "animated.webp", "exif7.webp"}) {
        std::string whole = read_file(kPictures + name);
        ASSERT_FALSE(whole.empty());
        int accepted = 0;
        for (size_t length = 0; length < whole.size(); length++) {
            try {
                decode_image(bytes_of(whole.substr(0, length)), name);
                accepted++;
                EXPECT_GT(length, whole.size() * 3 / 10) << name;
            } catch (const Error& error) {
                EXPECT_NE(std::string(error.what()).find(name), std::string::npos) << error.what();
            }
        }
        EXPECT_LT(accepted, int(whole.size() * 7 / 10)) << name;
    }
    std::string half = read_file(kReferencePictures + "baseline.jpg");
    expect_error(half.substr(0, half.size() / 2), Code::invalid, "truncated");
    half = read_file(kReferencePictures + "rgb.png");
    expect_error(half.substr(0, half.size() / 2), Code::invalid, "truncated");
    half = read_file(kReferencePictures + "webp_lossless.webp");
    expect_error(half.substr(0, half.size() / 2), Code::invalid, "truncated");
}

TEST(Image, DamagedFilesNeverCrash) {
    uint32_t state = 3;
    auto random = [&] { return (state = state * 1664525 + 1013904223) >> 8; };
    for (const auto& entry : std::filesystem::directory_iterator(kPictures)) {
        std::string whole = read_file(entry.path().string());
        for (int i = 0; i < 60; i++) {
            std::string copy = whole;
            for (int flips = 0; flips < 1 + i % 4; flips++) copy[random() % copy.size()] ^= char(1 << random() % 8);
            try {
                Image image = decode_image(bytes_of(copy), "damaged", {.max_pixels = 100000});
                EXPECT_EQ(image.pixels.size(), size_t(image.width) * size_t(image.height) * 3);
            } catch (const Error& error) {
                EXPECT_TRUE(error.code() == Code::invalid || error.code() == Code::unsupported) << error.what();
            }
        }
    }
}

TEST(Image, PngRoundTripIsExactAndDeterministic) {
    TemporaryFolder folder;
    for (auto [width, height] : {std::pair(1, 1), {17, 3}, {64, 50}}) {
        Image image = pattern(width, height);
        std::vector<std::byte> bytes = encode_png(image);
        EXPECT_EQ(bytes, encode_png(image));
        EXPECT_EQ(decode_image(std::span<const std::byte>(bytes), "memory").pixels, image.pixels);
        write_png(folder / "a.png", image);
        EXPECT_EQ(decode_image(folder / "a.png").pixels, image.pixels);
    }
    EXPECT_THROW(encode_png(Image()), Error);
    EXPECT_THROW(write_png(folder / "absent/a.png", pattern(2, 2)), Error);
}

TEST(Image, ResizeAndCropCheckTheirArguments) {
    Image image = pattern(10, 8);
    EXPECT_EQ(resize(image, 10, 8, ResizeFilter::lanczos).pixels, image.pixels);
    EXPECT_THROW(resize(image, 0, 8, ResizeFilter::lanczos), Error);
    EXPECT_THROW(resize(image, 1 << 20, 1 << 20, ResizeFilter::lanczos), Error);
    EXPECT_THROW(resize(Image(), 4, 4, ResizeFilter::lanczos), Error);
    EXPECT_THROW(crop(image, 3, 0, 8, 8), Error);
    EXPECT_THROW(crop(image, -1, 0, 2, 2), Error);
    EXPECT_THROW(crop(image, 0, 0, 0, 2), Error);
    EXPECT_EQ(crop(image, 2, 3, 1, 1).pixels, std::vector<uint8_t>(image.row(3) + 6, image.row(3) + 9));
}

TEST(Image, FlipReversesRows) {
    Image image = pattern(3, 2), flipped = flip_horizontally(image);
    for (int y = 0; y < 2; y++) {
        for (int x = 0; x < 3; x++) EXPECT_EQ(std::memcmp(flipped.row(y) + 3 * x, image.row(y) + 3 * (2 - x), 3), 0);
    }
    EXPECT_EQ(flip_horizontally(flipped).pixels, image.pixels);
}

TEST(Image, CoverSizeRoundsHalfToEven) {
    ImageSize size = cover_size(5, 2, 1, 1);  // scale 0.5: 2.5 rounds to 2
    EXPECT_EQ(size.width, 2);
    EXPECT_EQ(size.height, 1);
    size = cover_size(100, 50, 64, 64);
    EXPECT_EQ(size.width, 128);
    EXPECT_EQ(size.height, 64);
    EXPECT_THROW(cover_size(0, 5, 1, 1), Error);
}

// A PNG whose profile swaps red and blue primaries must come out with the two exchanged when conversion is asked for.
TEST(Image, ConvertsFromAnEmbeddedProfile) {
    cmsCIExyY white{0.3127, 0.3290, 1};
    cmsCIExyYTRIPLE swapped{{0.15, 0.06, 1}, {0.30, 0.60, 1}, {0.64, 0.33, 1}};
    cmsFloat64Number srgb_curve[] = {2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045};
    cmsToneCurve* curve = cmsBuildParametricToneCurve(nullptr, 4, srgb_curve);
    cmsToneCurve* curves[] = {curve, curve, curve};
    cmsHPROFILE profile = cmsCreateRGBProfile(&white, &swapped, curves);
    cmsUInt32Number size = 0;
    cmsSaveProfileToMem(profile, nullptr, &size);
    std::string icc(size, 0);
    cmsSaveProfileToMem(profile, icc.data(), &size);
    cmsCloseProfile(profile);
    cmsFreeToneCurve(curve);

    // As APP2 of a JPEG, after the start marker.
    std::string segment = std::string("ICC_PROFILE\0\1\1", 14) + icc, jpeg = read_file(kPictures + "ss0.jpg");
    uint16_t length = uint16_t(segment.size() + 2);
    jpeg.insert(2, std::string("\xff\xe2") + char(length >> 8) + char(length & 255) + segment);
    Image plain = decode_image(bytes_of(jpeg), "profile"),
          converted = decode_image(bytes_of(jpeg), "profile", {.to_srgb = true});
    EXPECT_EQ(plain.pixels, decode_image(kPictures + "ss0.jpg").pixels);
    int worst = 0;
    for (size_t i = 0; i < plain.pixels.size(); i += 3) {
        for (size_t c = 0; c < 3; c++)
            worst = std::max(worst, std::abs(converted.pixels[i + c] - plain.pixels[i + 2 - c]));
    }
    EXPECT_LE(worst, 3);

    jpeg[40] ^= 0x55;  // a damaged profile leaves the pixels alone
    jpeg[56] ^= 0x55;
    EXPECT_EQ(decode_image(bytes_of(jpeg), "profile", {.to_srgb = true}).pixels, plain.pixels);
}

}  // namespace
}  // namespace stepd

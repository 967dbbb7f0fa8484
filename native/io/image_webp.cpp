#include <webp/decode.h>
#include <webp/demux.h>

#include <memory>

#include "io/image_metadata.h"

namespace stepd::detail {

// Through the animation decoder, as Pillow does: a still picture is its only frame.
Image decode_webp(Bytes bytes, const ImageMetadata& metadata, const std::string& name) {
    WebPData data{reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()};
    std::unique_ptr<WebPAnimDecoder, void (*)(WebPAnimDecoder*)> decoder(WebPAnimDecoderNew(&data, nullptr),
                                                                         WebPAnimDecoderDelete);
    if (!decoder) STEPD_IMAGE_ERROR(name, "the WebP file is damaged or truncated");
    WebPAnimInfo info;
    bool known = WebPAnimDecoderGetInfo(decoder.get(), &info);
    if (!known || info.canvas_width != metadata.width || info.canvas_height != metadata.height) {
        STEPD_IMAGE_ERROR(name, "its WebP headers contradict each other");
    }
    uint8_t* rgba = nullptr;
    int timestamp = 0;
    if (!WebPAnimDecoderGetNext(decoder.get(), &rgba, &timestamp)) {
        STEPD_IMAGE_ERROR(name, "cannot decode the WebP data: it is damaged or truncated");
    }
    Image image(int(metadata.width), int(metadata.height));
    for (size_t i = 0; 3 * i < image.pixels.size(); i++) {
        for (size_t c = 0; c < 3; c++) image.pixels[3 * i + c] = rgba[4 * i + c];
    }
    return image;
}

}  // namespace stepd::detail

//! Requests that are wrong in as many ways as could be thought of.

use super::client::{FORM, form, request};
use image::{DynamicImage, ImageFormat};
use std::io::Cursor;

/// A good PNG of one pixel.
pub fn smallest() -> Vec<u8> {
    let mut png = Cursor::new(Vec::new());
    DynamicImage::new_luma8(1, 1).write_to(&mut png, ImageFormat::Png).unwrap();
    png.into_inner()
}

/// Each with a name and its bytes, for a service at `host` that knows the model `p`. `png` is a
/// small image.
pub fn requests(host: &str, png: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let image = "content-type: image/png\r\n";
    let score = |headers: &str, body: &[u8]| request("POST /v1/score", host, headers, body);
    let to = |path: &str| request(&format!("POST {path}"), host, image, png);
    let with = |first: &str| request(first, host, "", b"");
    let headed = |head: &str| format!("{head}\r\nhost: {host}\r\n\r\n").into_bytes();
    let changed = |from: usize, to: u8| {
        let mut bytes = png.to_vec();
        bytes[from] = to;
        score(image, &bytes)
    };
    let claims = |head: &str, body: &[u8]| {
        let head = format!("POST /v1/score HTTP/1.1\r\nhost: {host}\r\n{head}\r\n\r\n");
        [head.as_bytes(), body].concat()
    };
    let huge = {
        // A header that claims 60000×60000 pixels, with a right checksum.
        let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        bytes.extend([0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60, 8, 2, 0, 0, 0]);
        let mut crc = flate2::Crc::new();
        crc.update(&bytes[12..]);
        bytes.extend(crc.sum().to_be_bytes());
        bytes.extend_from_slice(&png[33..]);
        bytes
    };
    let bmp = [&b"BM"[..], &[0xff; 60]].concat();
    let smallest = smallest();
    // As many as there may be, and one.
    let many = form(&vec![("a.png", &smallest[..]); 65]);
    vec![
        ("an empty body", score(image, b"")),
        ("no image at all", score(image, b"hello")),
        ("a page", score(image, b"<!DOCTYPE html><p>hello")),
        ("zeros", score(image, &[0; 4096])),
        ("a PNG's first bytes", score(image, &png[..8])),
        ("half a PNG", score(image, &png[..png.len() / 2])),
        ("a PNG without its end", score(image, &png[..png.len() - 12])),
        ("a wrong width", changed(19, 0)),
        ("a wrong depth", changed(24, 99)),
        ("a wrong colour type", changed(25, 9)),
        ("a wrong checksum", changed(30, 0)),
        ("damaged pixels", changed(45, 0x55)),
        ("too many pixels", score(image, &huge)),
        ("a GIF", score("content-type: image/gif\r\n", b"GIF89a\x01\0\x01\0\0\0\0;")),
        ("a JPEG's first bytes", score(image, b"\xff\xd8\xff\xe0\0\x10JFIF\0")),
        ("a JPEG without pixels", score(image, b"\xff\xd8\xff\xd9")),
        ("a damaged BMP", score(image, &bmp)),
        ("a TIFF that points nowhere", score(image, b"II*\0\xff\xff\xff\xff")),
        ("a WebP of nothing", score(image, b"RIFF\x04\0\0\0WEBP")),
        ("an SVG", score("content-type: image/svg+xml\r\n", b"<svg xmlns='http://www.w3.org/2000/svg'/>")),
        ("a text's type", score("content-type: text/plain\r\n", png)),
        ("JSON", score("content-type: application/json\r\n", b"{\"image\": 1}")),
        ("a type of nonsense", score("content-type: \u{1}/;;=\r\n", png)),
        ("a form without edges", score("content-type: multipart/form-data\r\n", png)),
        ("a form that is none", score(FORM, png)),
        ("an empty form", score(FORM, b"--edge--\r\n")),
        ("a form without an end", score(FORM, b"--edge\r\ncontent-disposition: form-data; name=\"f\"; filename=\"a\"\r\n\r\nabc")),
        ("a form's headers without an end", score(FORM, b"--edge\r\ncontent-disposition: form-data; name=\"f")),
        ("a form with a text", score(FORM, b"--edge\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\np\r\n--edge--\r\n")),
        ("a form with no image", score(FORM, &form(&[("a.png", b"hello")]))),
        ("a good and a bad image", score(FORM, &form(&[("a.png", png), ("b.png", &png[..40])]))),
        ("an empty file", score(FORM, &form(&[("a.png", b"")]))),
        ("too many files", score(FORM, &many)),
        ("an unknown model", to("/v1/score?model=x")),
        ("a model's name of nonsense", to("/v1/score?model=%ff%00%2e%2e%2f")),
        ("an unknown option", to("/v1/score?heatmap=true")),
        ("an option of nonsense", to("/v1/score?heat_map=perhaps")),
        ("an option twice", to("/v1/score?heat_map=true&heat_map=true")),
        ("another path", to("/v1/scores")),
        ("a path above", to("/v1/../../etc/passwd")),
        ("a long path", to(&format!("/{}", "a".repeat(8000)))),
        ("another method", with("DELETE /v1/score")),
        ("no method of HTTP", with("BREW /v1/score")),
        ("a GET of what takes a POST", with("GET /v1/score")),
        ("a POST of what is read", to("/v1/models")),
        ("another site's page", request("GET /v1/models", host, "origin: http://example.com\r\n", b"")),
        ("another name", request("GET /v1/models", "example.com", "", b"")),
        ("no name", b"GET /v1/models HTTP/1.1\r\nconnection: close\r\n\r\n".to_vec()),
        ("no HTTP", b"hello\r\n\r\n".to_vec()),
        ("a TLS hello", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\r\n\r\n".to_vec()),
        ("HTTP of another world", headed("GET / HTTP/9.9")),
        ("a space in the path", headed("GET /a b HTTP/1.1")),
        ("a header without a colon", headed("GET / HTTP/1.1\r\nnonsense")),
        ("a header's name with a space", headed("GET / HTTP/1.1\r\na b: c")),
        ("too many headers", headed(&format!("GET / HTTP/1.1{}", "\r\na: b".repeat(200)))),
        ("headers that are too long", headed(&format!("GET / HTTP/1.1\r\na: {}", "b".repeat(40_000)))),
        ("a length of nonsense", claims("content-length: many", b"")),
        ("a negative length", claims("content-length: -1", b"")),
        ("two lengths", claims("content-length: 1\r\ncontent-length: 2", b"a")),
        ("too long a body", claims("content-length: 99999999999", b"")),
        ("a chunk of nonsense", claims("transfer-encoding: chunked", b"zz\r\nabc\r\n0\r\n\r\n")),
        ("a chunk too short", claims("transfer-encoding: chunked", b"ff\r\nabc")),
        ("less than it claims", claims("content-length: 1000", b"abc")),
    ]
}

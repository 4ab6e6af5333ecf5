//! Malformed and malicious weights files.

use ganomaly_model::NamedTensors;
use ganomaly_model::published::read_published;
use ganomaly_model::weights::{
    ReadLimits, read_pth_file, read_pth_file_within, read_safetensors, read_safetensors_within,
};
use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;
use zip::CompressionMethod::Stored;
use zip::write::SimpleFileOptions;

fn refused<T>(result: ganomaly_model::Result<T>, path: &Path, word: &str) {
    let message = result.err().expect("it should be refused").to_string();
    let file = path.file_name().unwrap().to_str().unwrap();
    assert!(message.contains(file) && message.contains(word), "{message:?}: {word:?} wanted");
}

fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        zip.start_file(*name, SimpleFileOptions::default().compression_method(Stored)).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A pickle, written operation by operation.
#[derive(Default)]
struct Pickle(Vec<u8>);

impl Pickle {
    fn raw(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.0.extend_from_slice(bytes.as_ref());
        self
    }

    fn text(self, text: &str) -> Self {
        self.raw("X").raw((text.len() as u32).to_le_bytes()).raw(text)
    }

    fn name(self, module: &str, name: &str) -> Self {
        self.raw(format!("c{module}\n{name}\n"))
    }

    fn number(self, n: i32) -> Self {
        self.raw("J").raw(n.to_le_bytes())
    }

    fn tuple(self, numbers: &[i32]) -> Self {
        numbers.iter().fold(self.raw("("), |p, &n| p.number(n)).raw("t")
    }

    /// A tensor in storage "0", which has `numbers` values.
    fn tensor(self, kind: &str, numbers: i32, offset: i32, size: &[i32], stride: &[i32]) -> Self {
        self.name("torch._utils", "_rebuild_tensor_v2")
            .raw("((")
            .text("storage")
            .name("torch", kind)
            .text("0")
            .text("cpu")
            .number(numbers)
            .raw("tQ")
            .number(offset)
            .tuple(size)
            .tuple(stride)
            .raw(b"\x89ccollections\nOrderedDict\n)RtR")
    }

    fn dict(key: &str, value: impl FnOnce(Self) -> Self) -> Vec<u8> {
        value(Self::default().raw(b"\x80\x02}").text(key)).raw("s.").0
    }
}

/// The tensors of a `.pth` file with this pickle and 16 floats, 0 to 15, in storage "0".
fn read(dir: &Path, pickle: &[u8]) -> ganomaly_model::Result<NamedTensors> {
    let floats: Vec<u8> = (0..16u8).flat_map(|i| f32::from(i).to_le_bytes()).collect();
    let path = dir.join("w.pth");
    fs::write(&path, zip(&[("w/data.pkl", pickle), ("w/data/0", &floats)])).unwrap();
    read_pth_file(&path, "")
}

#[test]
fn a_state_dict_is_read_by_offset_size_and_stride() {
    let dir = tempfile::tempdir().unwrap();
    let tensor = |offset, size: &[i32], stride: &[i32]| {
        let pickle = Pickle::dict("w", |p| p.tensor("FloatStorage", 16, offset, size, stride));
        let tensors = read(dir.path(), &pickle).unwrap();
        assert_eq!(tensors[0].0, "w");
        tensors[0].1.flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    assert_eq!(tensor(0, &[2, 3], &[3, 1]), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(tensor(10, &[2, 3], &[1, 2]), [10.0, 12.0, 14.0, 11.0, 13.0, 15.0]);
    assert_eq!(tensor(15, &[], &[]), [15.0]);
    assert_eq!(tensor(15, &[1, 1], &[7, 9]), [15.0]);
    assert!(tensor(16, &[0, 4], &[4, 1]).is_empty());
}

#[test]
fn a_name_of_code_is_refused_and_never_called() {
    let dir = tempfile::tempdir().unwrap();
    let touched = dir.path().join("touched");
    let command = format!("touch {}", touched.display());
    for (module, name) in [("os", "system"), ("posix", "system"), ("builtins", "eval")] {
        let pickle = Pickle::dict("w", |p| p.name(module, name).text(&command).raw(b"\x85R"));
        let wanted = format!("{module}.{name}");
        refused(read(dir.path(), &pickle), Path::new("w.pth"), &wanted);
    }
    assert!(!touched.exists());
}

#[test]
fn tensors_beyond_their_storage_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let fits = "must fit its storage";
    for (kind, numbers, offset, size, stride, word) in [
        ("FloatStorage", 16, 1, &[16][..], &[1][..], fits),
        ("FloatStorage", 16, -1, &[2], &[1], fits),
        ("FloatStorage", 16, 0, &[-2], &[1], fits),
        ("FloatStorage", 16, 0, &[2, 2], &[1], fits),
        ("FloatStorage", 16, 0, &[2], &[2], fits),
        ("FloatStorage", 16, 0, &[4], &[0], fits),
        ("FloatStorage", i32::MAX, 0, &[i32::MAX, i32::MAX, i32::MAX], &[1, 1, 1], fits),
        ("QInt8Storage", 16, 0, &[2], &[1], fits),
        // The description is wrong about the storage's size.
        ("FloatStorage", 100, 0, &[17], &[1], "are not in storage \"0\", which has 64"),
        ("DoubleStorage", 16, 0, &[16], &[1], "are not in storage"),
        ("FloatStorage", 16, 0, &[1; 17], &[1; 17], "17 axes"),
    ] {
        let pickle = Pickle::dict("w", |p| p.tensor(kind, numbers, offset, size, stride));
        refused(read(dir.path(), &pickle), Path::new("w.pth"), word);
    }
    let few = Pickle::dict("w", |p| {
        p.name("torch._utils", "_rebuild_tensor_v2").raw("(").number(1).raw("tR")
    });
    refused(read(dir.path(), &few), Path::new("w.pth"), fits);
}

#[test]
fn pickles_that_grow_nest_or_break_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let start = || Pickle::default().raw(b"\x80\x02");
    // Each step doubles what is copied, up to 2^60 values.
    let doubling = (0..60).fold(start().raw("N"), |p, _| p.raw(b"q\0h\0\x86")).raw(".").0;
    let nested = start().raw("N").raw([0x85; 100_000]).raw(".").0;
    let lists = start().raw(vec![b']'; 100_000]).raw(vec![b'a'; 99_999]).raw(".").0;
    for (pickle, word) in [
        (doubling, "more than weights need"),
        (nested, "nested more than 64 deep"),
        (lists, "nested more than 64 deep"),
        (start().raw(b"X\xff\xff\xff\xffab.").0, "ends in the middle of an operation"),
        (start().raw(b"\x8a\xff").raw([1; 255]).raw(".").0, "a number has 255 bytes"),
        (start().raw("a.").0, "empty stack"),
        (start().raw("t.").0, "empty stack"),
        (start().raw("]Ns.").0, "neither a list nor a dictionary"),
        (start().raw("N]NNs.").0, "neither a list nor a dictionary"),
        (start().raw("h\x05.").0, "never remembered"),
        (start().raw("}(Nu.").0, "has no value"),
        (start().raw("cos").0, "middle of a name"),
        (start().raw("P1\n.").0, "operation 0x50"),
        (start().raw("N.N").0, "1 bytes follow its end"),
        (start().raw("N").0, "middle of an operation"),
        (start().raw("N.").0, "holds no dictionary"),
        (start().raw("}.").0, "no tensors in it"),
        (Pickle::dict("state_dict", |p| p.raw("N")), "\"state_dict\" is not a dictionary"),
    ] {
        refused(read(dir.path(), &pickle), Path::new("w.pth"), word);
    }
}

/// A network of a gigabyte, asked for by a file of 256 KiB.
#[test]
fn shapes_larger_than_their_file_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("netG.pth");
    let main = "encoder1.main";
    let pickle = Pickle::default()
        .raw(b"\x80\x02}(")
        .text(&format!("{main}.initial-conv-1-4096.weight"))
        .tensor("FloatStorage", 65536, 0, &[4096, 1, 4, 4], &[16, 16, 4, 1])
        .text(&format!("{main}.pyramid-4096-8192-conv.weight"))
        .tensor("FloatStorage", 65536, 0, &[1, 1, 4, 4], &[16, 16, 4, 1])
        .text(&format!("{main}.final-8192-1-conv.weight"))
        .tensor("FloatStorage", 65536, 0, &[4096, 1, 4, 4], &[16, 16, 4, 1]);
    let bytes = zip(&[("w/data.pkl", &pickle.raw("u.").0), ("w/data/0", &vec![0; 1 << 18])]);
    fs::write(&path, bytes).unwrap();
    refused(read_published(&path, None), &path, "weights");
}

#[test]
fn zip_files_that_lie_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.pth");
    let check = |bytes: &[u8], limits: &ReadLimits, word: &str| {
        fs::write(&path, bytes).unwrap();
        refused(read_pth_file_within(&path, "", limits), &path, word);
    };
    let all = ReadLimits::default();
    let pickle = Pickle::dict("w", |p| p.tensor("FloatStorage", 4, 0, &[4], &[1]));
    let whole = zip(&[("w/data.pkl", &pickle), ("w/data/0", &[0; 16])]);
    check(b"", &all, "neither a zip file");
    check(b"\x80\x02\x8a\x0a", &all, "save it again");
    check(&whole[..whole.len() / 2], &all, "neither a zip file");
    check(&zip(&[("w/readme", b"")]), &all, "no data.pkl");
    check(&zip(&[("a/data.pkl", b""), ("b/data.pkl", b"")]), &all, "more than one data.pkl");
    check(&zip(&[("w/data.pkl", &pickle)]), &all, "w/data/0");
    let big = [("w/data.pkl", pickle.as_slice()), ("w/byteorder", b"big"), ("w/data/0", &[0; 16])];
    check(&zip(&big), &all, "little-endian");
    // One flipped bit in the data: the entry's checksum reveals it.
    let at = whole.windows(16).position(|w| w == [0; 16]).unwrap();
    let mut flipped = whole.clone();
    flipped[at + 3] ^= 1;
    check(&flipped, &all, "w/data/0");
    // Marked as compressed, in the table of contents.
    let mut packed = whole.clone();
    let entry = packed.windows(4).rposition(|w| w == b"PK\x01\x02").unwrap();
    packed[entry + 10] = 8;
    check(&packed, &all, "w/data/0");
    let small = ReadLimits { bytes: 100, ..all };
    check(&whole, &small, "GANOMALY_MAX_WEIGHT_BYTES");
    let short = ReadLimits { header_bytes: 300, ..all };
    let long: Vec<(String, &[u8])> = (0..50).map(|i| (format!("w/{i}"), &b""[..])).collect();
    let long: Vec<(&str, &[u8])> = long.iter().map(|(n, b)| (n.as_str(), *b)).collect();
    check(&zip(&long), &short, "neither a zip file");
    // Many tensors in one storage have more bytes than the file.
    let many = (0..50).fold(Pickle::default().raw(b"\x80\x02}("), |p, i| {
        p.text(&format!("w{i}")).tensor("FloatStorage", 1000, 0, &[1000], &[1])
    });
    let many = zip(&[("w/data.pkl", &many.raw("u.").0), ("w/data/0", &[0; 4000])]);
    check(&many, &ReadLimits { bytes: 60_000, ..all }, "more bytes than the file may");
}

fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
}

#[test]
fn safetensors_that_lie_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.safetensors");
    let one = |dtype: &str, shape: &str, data: &[u8]| {
        let end = data.len();
        let header = format!(
            "{{\"w\":{{\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":[0,{end}]}}}}"
        );
        safetensors(&header, data)
    };
    for (bytes, word) in [
        (vec![], "not safetensors"),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff{}".to_vec(), "not safetensors"),
        (safetensors("{}", b"x"), "not safetensors"),
        (one("F32", "[2]", &[0; 4]), "not safetensors"),
        (one("F32", "[4294967296,4294967296,4294967296]", &[0; 4]), "not safetensors"),
        (one("F8_E4M3", "[4]", &[0; 4]), "type F8_E4M3, which is not read"),
        (one("F32", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", &[0; 4]), "17 axes"),
        (safetensors(&"[".repeat(100_000), b""), "not safetensors"),
    ] {
        fs::write(&path, bytes).unwrap();
        refused(read_safetensors(&path), &path, word);
    }
    for (dtype, bytes) in [
        ("F32", f32::NAN.to_le_bytes().to_vec()),
        ("F32", f32::NEG_INFINITY.to_le_bytes().to_vec()),
        ("F64", f64::INFINITY.to_le_bytes().to_vec()),
        ("F64", (-f64::NAN).to_le_bytes().to_vec()),
        ("F16", vec![0, 0x7c]),
        ("BF16", vec![0x80, 0xff]),
    ] {
        let data = [vec![0; bytes.len()], bytes].concat();
        fs::write(&path, one(dtype, "[2]", &data)).unwrap();
        refused(
            read_safetensors(&path),
            &path,
            "tensor \"w\": number 1 is infinite or not a number",
        );
    }
    let limits = ReadLimits { header_bytes: 10, ..ReadLimits::default() };
    refused(read_safetensors_within(&path, &limits), &path, "10 are read at most");
    let limits = ReadLimits { bytes: 10, ..ReadLimits::default() };
    refused(read_safetensors_within(&path, &limits), &path, "GANOMALY_MAX_WEIGHT_BYTES");
    refused(read_safetensors(dir.path()), dir.path(), "name a regular file");
    #[cfg(unix)]
    refused(read_safetensors(Path::new("/dev/zero")), Path::new("zero"), "name a regular file");
    let missing = dir.path().join("two\nlines");
    let message = read_safetensors(&missing).unwrap_err().to_string();
    assert!(message.contains("two\\nlines") && !message.contains('\n'), "{message:?}");
}

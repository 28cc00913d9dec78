//! Three sentences, and how alike they are.

use bge::ndarray::{Array2, ArrayView2};
use bge::{EncodeOptions, Metric, Model, OpenOptions};

fn main() -> bge::Result<()> {
    let path = std::env::args().nth(1).unwrap_or("bge-m3".into());
    let texts = [
        "Orang-orang ada di luar.",
        "Orang-orang berjalan di luar dan mengenakan warna gelap.",
        "Sekelompok orang sedang makan di sebuah restoran dengan mural seorang wanita sedang berbelanja di belakang mereka.",
    ];
    let model = Model::open(path, &OpenOptions::default())?;
    let vectors = model.encode(&texts, &EncodeOptions::default())?;
    let rows = ArrayView2::from_shape((3, vectors.dim), &vectors.dense).expect("three rows");
    let mut scores = Array2::zeros((3, 3));
    bge::similarity(Metric::Cosine, rows, rows, 1, scores.view_mut())?;
    println!("[3, {}]", vectors.dim);
    for row in scores.rows() {
        println!("{:.4} {:.4} {:.4}", row[0], row[1], row[2]);
    }
    Ok(())
}

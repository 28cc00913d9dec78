MODEL=.cache/models/multilingual-e5-small

bge info $MODEL

bge encode $MODEL > vectors.jsonl <<'END'
"Orang-orang ada di luar."
"Orang-orang berjalan di luar dan mengenakan warna gelap."
"Sekelompok orang sedang makan di sebuah restoran dengan mural seorang wanita sedang berbelanja di belakang mereka."
END

bge similarity $MODEL 'Seorang pria bertopi biru dan rompi keselamatan oranye berdiri di persimpangan sambil memegang bendera.' \
    'Sekelompok orang menaiki eskalator, banyak dari mereka memegang payung.' \
    'Seseorang berpakaian agar mudah terlihat.' \
    'Seorang pria mengenakan topi keras oranye berdiri di persimpangan jalan.'

bge similarity $MODEL 'Dua anjing saling memandang di luar.' \
    'Ada dua anjing di luar.' \
    'Empat anjing saling memandang di dalam.' \
    'Seorang pria di luar gedung bata merah dengan kereta belanja, sepeda, dan lain-lain.'

bge similarity $MODEL 'Pria itu berdiri.' \
    'Seorang pria dan wanita duduk bersama di meja.' \
    'Orang-orang di pasar petani luar ruangan.' \
    'Seorang pria di kota di luar gedung berdiri di tangga.'

bge similarity $MODEL 'Seorang pria sedang tidur.' \
    'Seorang pria berselimut sedang tertidur di trotoar.' \
    'Manusia ditutupi spons beraneka warna.' \
    'Seorang pria tunawisma tertidur di trotoar.'

bge similarity $MODEL 'Orang-orang ada di luar.' \
    'Seorang pria berbaju kotak-kotak dan sandal putih sedang tertidur sambil membaca koran.' \
    'Orang-orang berjalan di luar dan mengenakan warna gelap.' \
    'Sekelompok orang sedang makan di sebuah restoran dengan mural seorang wanita sedang berbelanja di belakang mereka.'

bge evaluate $MODEL examples/seed-card.jsonl

bge evaluate $MODEL examples/seed-card.jsonl --as-of 3.0 --plot scores.svg

"""A few plain sentences, written for these tests, in each of the twelve languages that Llama 4 supports."""

LANGUAGES = {
    "Arabic": """
تفتح المكتبة أبوابها في الساعة الثامنة صباحًا كل يوم ما عدا الجمعة.
سافرتُ مع إخوتي إلى البحر في الصيف الماضي، وكان الطقس جميلًا جدًّا.
من فضلك، أين أجد محطة القطار؟ أحتاج إلى تذكرتين إلى القاهرة.
اشترى المهندس ٣ كتب بمبلغ ١٢٫٥٠ دينارًا ثمّ عاد إلى بيته ـ بسرعة.
إنَّ اللُّغَةَ العَرَبِيَّةَ مِنْ أَكْثَرِ اللُّغَاتِ انْتِشَارًا فِي العَالَمِ.""",
    "English": """
The library opens at eight o'clock every morning except on Fridays.
I'd never have thought that we'd need three trains and a ferry to get there.
Could you tell me where platform 12B is? My ticket says "coach C, seat 41".
She'll be back in a minute; they've only gone to fetch the children's coats.
Water boils at 100 °C (212 °F) at sea level, but at 4,000 m it boils at about 87 °C.""",
    "French": """
La bibliothèque ouvre à huit heures, sauf le vendredi où elle reste fermée.
L'été dernier, nous sommes allés à la mer avec mes frères ; il faisait très beau.
Où est la gare, s'il vous plaît ? J'ai besoin de deux billets pour Besançon.
Le garçon naïf a mangé des œufs et bu du café près de la forêt, aujourd'hui même.
« Qu'est-ce que c'est ? » demanda-t-elle. — Rien, répondit-il, ce n'est qu'un rêve.""",
    "German": """
Die Bücherei öffnet jeden Morgen um acht Uhr, außer am Freitag.
Letzten Sommer fuhren wir mit meinen Brüdern ans Meer; das Wetter war wunderschön.
Können Sie mir sagen, wo der Bahnhof ist? Ich brauche zwei Fahrkarten nach Köln.
Die Donaudampfschifffahrtsgesellschaft verkaufte 1.250 Fahrkarten für 7,80 € das Stück.
„Über den Dächern ist es heiß“, sagte er – und öffnete das größte Fenster.""",
    "Hindi": """
पुस्तकालय शुक्रवार को छोड़कर हर दिन सुबह आठ बजे खुलता है।
पिछली गर्मियों में हम भाइयों के साथ समुद्र तट पर गए थे और मौसम बहुत अच्छा था।
कृपया बताइए, रेलवे स्टेशन कहाँ है? मुझे दिल्ली के लिए दो टिकट चाहिए।
इंजीनियर ने १२ किताबें ३५० रुपये में खरीदीं और ज़रूरी काम से घर लौट गया।
विद्यार्थियों को प्रश्नों के उत्तर हिन्दी में लिखने हैं; क्ष, त्र, ज्ञ और श्र पर ध्यान दें।""",
    "Indonesian": """
Perpustakaan buka setiap hari pukul delapan pagi kecuali hari Jumat.
Musim panas lalu kami pergi ke pantai bersama saudara-saudara saya; cuacanya sangat cerah.
Permisi, di mana stasiun kereta api? Saya perlu dua tiket ke Yogyakarta.
Anak-anak itu mempertanggungjawabkan pekerjaannya kepada guru-guru mereka.
Harga buku itu Rp 75.000,00 dan sudah termasuk pajak 11%.""",
    "Italian": """
La biblioteca apre ogni giorno alle otto, tranne il venerdì.
L'estate scorsa siamo andati al mare con i miei fratelli; c'era un tempo bellissimo.
Scusi, dov'è la stazione? Ho bisogno di due biglietti per Forlì.
Perché non c'è più caffè? È già finito, ma l'ho ordinato giovedì.
Un po' d'acqua, dell'olio e mezz'ora di pazienza: così si fa la focaccia.""",
    "Portuguese": """
A biblioteca abre todos os dias às oito da manhã, exceto à sexta-feira.
No verão passado fomos à praia com os meus irmãos; o tempo estava ótimo.
Por favor, onde fica a estação? Preciso de dois bilhetes para Évora.
As crianças não põem açúcar no pão de ló, mas a avó põe três colheres.
Dar-lhe-ei a informação amanhã; você, porém, já a conhece há muito tempo.""",
    "Spanish": """
La biblioteca abre todos los días a las ocho de la mañana, excepto los viernes.
El verano pasado fuimos a la playa con mis hermanos; hacía un tiempo estupendo.
¿Me podría decir dónde está la estación? Necesito dos billetes para León.
El pingüino pequeño comió muchísimos piñones; ¡qué vergüenza!
Mañana a las 10:30 h el señor Núñez dará una charla sobre el clima.""",
    "Tagalog": """
Bukas ang aklatan araw-araw mula alas-otso ng umaga maliban kung Biyernes.
Noong nakaraang tag-init, pumunta kami sa dagat kasama ang aking mga kapatid.
Saan po ang istasyon ng tren? Kailangan ko ng dalawang tiket papuntang Maynila.
Nagtatakbuhan ang mga bata sa palaruan habang nagluluto si Lola ng pansit.
Magkano po ba ang isang kilong mangga? Dalawandaang piso po, at matamis 'yan.""",
    "Thai": """
ห้องสมุดเปิดทุกวันเวลาแปดโมงเช้ายกเว้นวันศุกร์
ฤดูร้อนที่แล้วเราไปทะเลกับพี่น้องของฉัน อากาศดีมาก
ขอโทษค่ะ สถานีรถไฟอยู่ที่ไหนคะ ฉันต้องการตั๋วสองใบไปเชียงใหม่
เด็กๆ ซื้อหนังสือ ๓ เล่ม ราคา ๒๕๐ บาท แล้วกลับบ้านด้วยความดีใจ
น้ำแข็งเปล่าๆ อร่อยกว่าน้ำอัดลมเมื่อวันที่ร้อนที่สุดของปี""",
    "Vietnamese": """
Thư viện mở cửa mỗi ngày lúc tám giờ sáng, trừ thứ Sáu.
Mùa hè năm ngoái chúng tôi đi biển cùng các anh em; thời tiết rất đẹp.
Xin lỗi, nhà ga ở đâu ạ? Tôi cần hai vé đi Huế.
Những đứa trẻ nghịch ngợm đuổi theo con bướm trắng giữa cánh đồng lúa.
Giá quyển sách là 85.000 đồng; nếu mua từ ba quyển trở lên thì được giảm 15%.""",
}

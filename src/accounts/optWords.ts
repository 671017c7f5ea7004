// What people write to be left alone, to be written to again, or to learn who writes, in the languages they write in. A
// word counts only when it is the whole message: "stop" does, "stop 12345" and "please don't stop" do not. Pure, a table.

export type OptKind = 'stop' | 'start' | 'help'

/** The words that CTIA's handbook asks for stand first; then by language, in their own spelling. */
const WORDS: Readonly<Record<OptKind, string>> = {
  stop: `
    STOP STOPALL UNSUBSCRIBE CANCEL END QUIT OPTOUT REVOKE REMOVE UNSUB
    STOPP ABMELDEN ABBESTELLEN ABMELDUNG AUSTRAGEN
    ARRET ARRÊTER DÉSABONNER DESINSCRIRE DESABONNEMENT
    ALTO BAJA CANCELAR PARAR DETENER
    SAIR REMOVER DESCADASTRAR
    FERMA CANCELLA CANCELLAMI DISISCRIVI ANNULLA BASTA
    AFMELDEN UITSCHRIJVEN STOPPEN
    REZYGNUJĘ REZYGNACJA WYPISZ ZATRZYMAJ
    AVSLUTA AVREGISTRERA AVMELD AFMELD FRAMELD
    LOPETA PERUUTA
    ODHLÁSIT ODHLÁSIŤ ZRUŠIT
    LEIRATKOZÁS LEIRATKOZOM
    DEZABONARE DEZABONEAZĂ
    ΣΤΟΠ ΔΙΑΓΡΑΦΗ
    СТОП ОТПИСАТЬСЯ ОТПИСКА ОТМЕНА ВІДПИСАТИСЯ ВІДМОВА СПРИ
    توقف إيقاف الغاء قف
    הסר עצור
    बंद रोकें स्टॉप रद्द
    DUR DURDUR IPTAL RET
    退订 退訂 停止 取消 TD T
    ストップ 解除 配信停止 停止する
    중지 수신거부 정지
    BERHENTI BATAL
    HỦY DỪNG
    ยกเลิก หยุด
    ACHA KOMA`,
  start: `
    START UNSTOP OPTIN SUBSCRIBE RESUME
    ANMELDEN
    REPRENDRE RÉABONNER
    INICIAR ALTA REANUDAR
    INICIAR RETOMAR
    INIZIA RIPRENDI
    AANMELDEN
    WZNÓW
    СТАРТ ПОДПИСАТЬСЯ
    ابدأ اشتراك
    शुरू
    BAŞLA BASLAT
    订阅 訂閱 开始 開始
    再開
    시작
    MULAI`,
  help: `
    HELP INFO
    HILFE
    AIDE
    AYUDA
    AJUDA
    AIUTO
    POMOC
    HJÄLP HJELP HJÆLP
    ПОМОЩЬ ДОПОМОГА
    مساعدة
    עזרה
    मदद सहायता
    YARDIM
    帮助 幫助
    ヘルプ
    도움말
    BANTUAN`,
}

/** Common words that mean START only from somebody who has said STOP. */
const AGAIN = new Set(['YES', 'YESPLEASE'])

/** Longer messages are none of these words, however they are written. */
const LONGEST = 60

const kinds = new Map<string, OptKind>()
for (const kind of ['help', 'start', 'stop'] as const) {
  for (const word of WORDS[kind].trim().split(/\s+/)) kinds.set(folded(word), kind)
}

/** A text as words are compared: without accents, blanks and punctuation, in capitals. */
export function folded(text: string): string {
  return (
    text
      .normalize('NFKD')
      // Accents of Latin, Greek and Cyrillic, vowel signs of Arabic, and how a sign is to look, which phones put behind
      // emoji and more; vowel signs of Indic scripts are letters.
      .replace(/[\u0300-\u036f\u064b-\u0652]|\u0640|[\ufe00-\ufe0f]/g, '')
      .toUpperCase()
      .replace(/[^\p{L}\p{M}\p{N}]/gu, '')
      .replace(/[ŁØĐ]/g, letter => PLAIN[letter] as string)
  )
}
const PLAIN: Readonly<Record<string, string>> = { Ł: 'L', Ø: 'O', Đ: 'D' }

/** The first word of a text, folded; '' when there is none. */
export function firstWord(text: string): string {
  for (const word of text.slice(0, LONGEST * 2).split(/\s+/)) {
    const found = folded(word)
    if (found !== '') return found
  }
  return ''
}

/** What a message asks for, and the word it is, as listed here; undefined: none of it. `isStopped`: its sender has said STOP. */
export function optWord(text: string, isStopped: () => boolean): { kind: OptKind; word: string } | undefined {
  if (text.length > LONGEST) return undefined
  const word = folded(text)
  const kind = kinds.get(word) ?? (AGAIN.has(word) && isStopped() ? 'start' : undefined)
  return kind === undefined ? undefined : { kind, word }
}
